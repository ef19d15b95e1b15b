package limiter

import "bytes"

const (
	clusterSlots = 1 << 14 // parts that the keys of a cluster have
	clusterLanes = 16
)

// slotOf returns the part of a cluster's keys that key belongs to, as the nodes reckon it
// (Redis cluster specification, key distribution model): by what stands in the first pair
// of braces, if there is something. Budget: 0 allocs.
func slotOf(key []byte) uint16 {
	if begin := bytes.IndexByte(key, '{'); begin >= 0 {
		if length := bytes.IndexByte(key[begin+1:], '}'); length > 0 {
			key = key[begin+1 : begin+1+length]
		}
	}
	var crc uint16
	for _, c := range key {
		crc = crc<<8 ^ crcTable[byte(crc>>8)^c]
	}
	return crc % clusterSlots
}

// crcTable is of CRC-16/XMODEM.
var crcTable = func() (table [256]uint16) {
	for i := range table {
		crc := uint16(i) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
		table[i] = crc
	}
	return table
}()

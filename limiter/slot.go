package limiter

import (
	"bytes"
	"strconv"
)

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

// laneOf returns which of so many lanes a key has: neighbouring slots share one.
// Budget: 0 allocs.
func laneOf(key []byte, lanes int) int { return int(slotOf(key)) * lanes / clusterSlots }

// laneKeys returns some key of each lane.
func laneKeys(lanes int) []string {
	keys := make([]string, lanes)
	for n, left := 0, lanes; left > 0; n++ {
		key := strconv.Itoa(n)
		if at := laneOf([]byte(key), lanes); keys[at] == "" {
			keys[at] = key
			left--
		}
	}
	return keys
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

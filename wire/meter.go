package wire

import "sync/atomic"

// A Meter sums the bytes of many connections.
type Meter struct{ In, Out atomic.Int64 }

// meterEvery is how many bytes of a connection its Meter may lag behind: what every
// request added to would be fought over by all cores.
const meterEvery = 64 << 10

// MeterBy has m sum what goes through the socket, too. To be called before the first
// byte.
func (c *Conn) MeterBy(m *Meter) { c.meter = m }

// metered brings the Meter up to date once enough has come together. Budget: 0 allocs.
func (c *Conn) metered() {
	if c.meter != nil && c.in.Load()+c.out.Load()-c.inMetered.Load()-c.outMetered.Load() >= meterEvery {
		c.settle()
	}
}

// settle brings the Meter up to date.
func (c *Conn) settle() {
	if c.meter == nil {
		return
	}
	in, out := c.in.Load(), c.out.Load()
	c.meter.In.Add(in - c.inMetered.Swap(in))
	c.meter.Out.Add(out - c.outMetered.Swap(out))
}

package wire

import (
	"sync"
	"unsafe"
)

// A Pool lends buffers of one size.
type Pool struct {
	size int
	pool sync.Pool // of *byte: the first byte of a buffer, which costs no allocation to keep
}

// The pools of the engines. Heads and small answers fit Small; bodies stream
// through Large.
var (
	Small  = NewPool(4 << 10)
	Medium = NewPool(16 << 10)
	Large  = NewPool(64 << 10)
)

// NewPool makes a pool of buffers of size bytes.
func NewPool(size int) *Pool {
	p := &Pool{size: size}
	p.pool.New = func() any { return &make([]byte, size)[0] }
	return p
}

// Size is the length of the pool's buffers.
func (p *Pool) Size() int { return p.size }

// Get lends a buffer. Budget: 0 allocs once the pool is warm.
func (p *Pool) Get() []byte {
	first := p.pool.Get().(*byte)      //nolint:forcetypeassert // nothing else is put in
	return unsafe.Slice(first, p.size) //nolint:gosec // the array behind first has that size
}

// Put takes back a buffer that Get lent. Others are left to the collector.
func (p *Pool) Put(b []byte) {
	if cap(b) == p.size {
		p.pool.Put(&b[:1][0])
	}
}

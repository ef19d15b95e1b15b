package h2

import "legate/wire"

// An inbox holds what has come of a body and was not read yet, in lent pieces. The
// flow-control window bounds it.
type inbox struct {
	pieces [][]byte
	off    int // read so far of the first piece
	size   int
}

// push copies p in.
func (in *inbox) push(p []byte) {
	in.size += len(p)
	for len(p) > 0 {
		last := len(in.pieces) - 1
		if last < 0 || len(in.pieces[last]) == cap(in.pieces[last]) {
			pool := wire.Small
			if last >= 0 || len(p) > pool.Size() {
				pool = wire.Medium
			}
			in.pieces = append(in.pieces, pool.Get()[:0])
			last++
		}
		piece := in.pieces[last]
		n := min(len(p), cap(piece)-len(piece))
		in.pieces[last] = append(piece, p[:n]...)
		p = p[n:]
	}
}

// pull copies as much as there is into p.
func (in *inbox) pull(p []byte) (n int) {
	done := 0
	for n < len(p) && done < len(in.pieces) {
		piece := in.pieces[done]
		m := copy(p[n:], piece[in.off:])
		n += m
		in.off += m
		if in.off < len(piece) {
			break
		}
		putPiece(piece)
		in.pieces[done] = nil
		in.off = 0
		done++
	}
	if done > 0 {
		in.pieces = in.pieces[:copy(in.pieces, in.pieces[done:])]
	}
	in.size -= n
	return n
}

// takeOnly gives away all there is, if that is one piece, and the piece to be given
// back.
func (in *inbox) takeOnly() (p, piece []byte, ok bool) {
	if len(in.pieces) != 1 {
		return nil, nil, false
	}
	piece = in.pieces[0]
	p = piece[in.off:]
	in.pieces[0] = nil
	*in = inbox{pieces: in.pieces[:0]}
	return p, piece, true
}

// drop forgets what there is and returns how much that was.
func (in *inbox) drop() (n int) {
	for i, piece := range in.pieces {
		putPiece(piece)
		in.pieces[i] = nil
	}
	n = in.size
	*in = inbox{pieces: in.pieces[:0]}
	return n
}

func putPiece(p []byte) {
	wire.Small.Put(p)
	wire.Medium.Put(p)
}

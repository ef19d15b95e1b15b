package h2

import (
	"encoding/binary"
	"errors"

	"golang.org/x/net/http2"

	"legate/wire"
)

// maxContinuations is how many frames one field block may come in: the largest that is
// decoded needs eight.
const maxContinuations = 64

// errSelf is RFC 7540's word on priorities, which are ignored but for what is nonsense.
var errSelf = &wire.ProtocolError{Kind: wire.BadSyntax, Text: "stream depends on itself"}

// take reads every frame that is buffered whole. An error ends the connection.
func (m *mux) take() error {
	for m.rd.whole() {
		if err := m.frame(); err != nil {
			return err
		}
		m.bounded()
	}
	return nil
}

// frame reads one frame.
func (m *mux) frame() error {
	fh, err := m.rd.framer.ReadFrameHeader()
	if err != nil {
		return frameError(err)
	}
	if !m.settled && fh.Type != http2.FrameSettings {
		return &ConnError{http2.ErrCodeProtocol, "no SETTINGS after the preface"}
	}
	switch fh.Type {
	case http2.FrameData:
		return m.onData(fh, m.rd.take(int(fh.Length)))
	case http2.FrameHeaders:
		return m.onHeaders(fh, m.rd.take(int(fh.Length)))
	case http2.FrameContinuation:
		return m.onContinuation(fh, m.rd.take(int(fh.Length)))
	case http2.FramePriority, http2.FrameRSTStream, http2.FrameSettings, http2.FramePing, http2.FrameGoAway, http2.FrameWindowUpdate:
		return m.control(fh)
	case http2.FramePushPromise:
		return &ConnError{http2.ErrCodeProtocol, "PUSH_PROMISE"}
	default: // RFC 9113 §5.5: unknown frames are ignored
		m.rd.take(int(fh.Length))
		return m.tolerate(EmptyFrames)
	}
}

// tolerate ends the connection when there was too much of the kind.
func (m *mux) tolerate(a Abuse) error {
	if m.calm.spend(a) {
		return nil
	}
	return m.abuse(a)
}

func (m *mux) abuse(a Abuse) error {
	m.role.abused(a)
	return &ConnError{http2.ErrCodeEnhanceYourCalm, a.String()}
}

// onData takes a part of a body.
func (m *mux) onData(fh http2.FrameHeader, p []byte) error {
	data, ok := unpad(p, fh.Flags)
	if !ok || fh.StreamID == 0 {
		return &ConnError{http2.ErrCodeProtocol, "malformed DATA"}
	}
	end := fh.Flags&flagEndStream != 0
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.recv.spend(len(p)) {
		m.role.abused(WindowExceeded)
		return &ConnError{http2.ErrCodeFlowControl, "DATA beyond the connection's window"}
	}
	if m.eager {
		m.refund(len(p))
	}
	s := m.table.find(fh.StreamID)
	if s == nil || s.theirEnd {
		m.credited(len(p))
		return m.late(fh.StreamID, s)
	}
	if s.link != nil && !s.link.final {
		m.breakOff(s, http2.ErrCodeProtocol, errEarlyBody)
		return nil
	}
	if !s.recv.spend(len(p)) {
		m.credited(len(p))
		m.role.abused(WindowExceeded)
		m.resetLocked(s, http2.ErrCodeFlowControl)
		return nil
	}
	if len(data) == 0 && !end {
		if err := m.tolerate(EmptyFrames); err != nil {
			return err
		}
	}
	if len(data) > 0 {
		m.carried++
	}
	s.got += int64(len(data))
	if s.declared >= 0 && (s.got > s.declared || end && s.got < s.declared) {
		m.credited(len(p))
		m.mismatch(s)
		return nil
	}
	if unread := len(p) - len(data); unread > 0 {
		m.consumed(s, unread)
	}
	answered := s.x != nil && s.ourEnd
	switch {
	case answered: // nobody waits for it: what the window still allows may come
		m.credited(len(data))
	case s.stopped:
		m.consumed(s, len(data))
	default:
		s.in.push(data)
	}
	if end {
		m.ended(s, false, true)
	} else if answered && s.recv.open < s.recv.size/2 {
		m.resetLocked(s, http2.ErrCodeNo) // that was enough, RFC 9113 §8.1
	}
	s.more.ring()
	return nil
}

// mismatch ends a stream whose DATA does not come to its Content-Length (RFC 9113
// §8.1.1). The lock must be held.
func (m *mux) mismatch(s *stream) {
	m.role.abused(LengthMismatch)
	m.breakOff(s, http2.ErrCodeProtocol, errLengthDisagrees)
}

// late judges a frame of a body on a stream that takes none (RFC 9113 §5.1). The lock
// must be held.
func (m *mux) late(id uint32, s *stream) error {
	switch {
	case s != nil:
		m.resetLocked(s, http2.ErrCodeStreamClosed)
		return nil
	case id > m.highest || !m.opens(id):
		return &ConnError{http2.ErrCodeProtocol, "frame on a stream that is not open"}
	}
	if m.eager || m.past.of(id) == resetByUs { // what we opened ourselves needs no patience
		return nil
	}
	m.out = appendReset(m.buffer(), id, uint32(http2.ErrCodeStreamClosed))
	return m.tolerate(EmptyFrames)
}

// opens reports whether ids like this one are those of the connection's requests.
func (m *mux) opens(id uint32) bool { return id&1 == 1 }

// onHeaders takes the first part of a field block.
func (m *mux) onHeaders(fh http2.FrameHeader, p []byte) error {
	p, ok := unpad(p, fh.Flags)
	if !ok || fh.StreamID == 0 {
		return &ConnError{http2.ErrCodeProtocol, "malformed HEADERS"}
	}
	m.self = false
	if fh.Flags&flagPriority != 0 {
		if len(p) < 5 {
			return &ConnError{http2.ErrCodeFrameSize, "HEADERS is too short for its priority"}
		}
		m.self = binary.BigEndian.Uint32(p)&(1<<31-1) == fh.StreamID
		p = p[5:]
	}
	end := fh.Flags&flagEndStream != 0
	if fh.Flags&flagEndHeaders != 0 {
		return m.fields(fh.StreamID, end, p)
	}
	m.block, m.blockEnd, m.frames, m.headAt = append(m.block[:0], p...), end, 1, m.heard
	return nil
}

// onContinuation takes a further part. Its place is checked by the Framer.
func (m *mux) onContinuation(fh http2.FrameHeader, p []byte) error {
	m.frames++
	if m.frames > maxContinuations || len(m.block)+len(p) > m.dec.maxBlock() {
		return m.abuse(ContinuationFlood)
	}
	m.block = append(m.block, p...)
	if fh.Flags&flagEndHeaders == 0 {
		return nil
	}
	m.frames = 0
	err := m.fields(fh.StreamID, m.blockEnd, m.block)
	m.block = nil
	return err
}

// fields decodes a whole field block.
func (m *mux) fields(id uint32, end bool, p []byte) error {
	h, kind, err := m.role.begin(id)
	if err != nil {
		return err
	}
	fault, err := m.dec.decode(h, kind, p)
	if err != nil {
		return err
	}
	if m.self && fault == nil {
		fault = errSelf
	}
	return m.role.headers(id, end, fault)
}

// control takes one of the frames that the Framer parses.
func (m *mux) control(fh http2.FrameHeader) error {
	f, err := m.rd.framer.ReadFrameForHeader(fh)
	if se, ok := errors.AsType[http2.StreamError](err); ok {
		m.fault(se.StreamID, se.Code)
		return m.tolerate(EmptyFrames)
	}
	if err != nil {
		return frameError(err)
	}
	switch f := f.(type) {
	case *http2.SettingsFrame:
		return m.onSettings(f)
	case *http2.WindowUpdateFrame:
		return m.onWindowUpdate(f)
	case *http2.RSTStreamFrame:
		return m.onReset(f)
	case *http2.PingFrame:
		return m.onPing(f)
	case *http2.GoAwayFrame:
		m.role.goAway(f.LastStreamID, f.ErrCode)
	case *http2.PriorityFrame:
		if f.StreamDep == f.StreamID {
			m.fault(f.StreamID, http2.ErrCodeProtocol)
		}
		return m.tolerate(EmptyFrames)
	}
	return nil
}

// fault resets a stream, open or not.
func (m *mux) fault(id uint32, code http2.ErrCode) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.table.find(id); s != nil {
		m.resetLocked(s, code)
		return
	}
	m.out = appendReset(m.buffer(), id, uint32(code))
}

// onSettings notes what the peer says of itself (RFC 9113 §6.5) and confirms it.
func (m *mux) onSettings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	m.settled = true
	if err := m.tolerate(SettingsFlood); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range f.NumSettings() {
		if err := m.setting(f.Setting(i)); err != nil {
			return err
		}
	}
	m.out = appendFrame(m.buffer(), 0, frameSettings, flagAck, 0)
	return nil
}

func (m *mux) setting(s http2.Setting) error {
	if err := s.Valid(); err != nil {
		return frameError(err)
	}
	switch s.ID {
	case http2.SettingMaxFrameSize:
		m.peer.maxFrame = min(int(s.Val), maxFrameSize) // more would only make others wait
	case http2.SettingMaxConcurrentStreams:
		m.peer.maxStreams = s.Val
	case http2.SettingEnableConnectProtocol:
		m.peer.extended = s.Val == 1
	case http2.SettingInitialWindowSize:
		delta := int64(s.Val) - m.peer.window
		m.peer.window = int64(s.Val)
		for _, st := range m.table.streams {
			if st.window += delta; st.window > maxWindow {
				return &ConnError{http2.ErrCodeFlowControl, "window over its limit"}
			}
			st.room.ring()
		}
	default: // tables, pushes and lists are not for us to use
	}
	return nil
}

// onWindowUpdate lets us send more (RFC 9113 §6.9).
func (m *mux) onWindowUpdate(f *http2.WindowUpdateFrame) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.calm.opening(f.Increment) {
		return m.abuse(TinyWindows)
	}
	if f.StreamID == 0 {
		if m.window += int64(f.Increment); m.window > maxWindow {
			return &ConnError{http2.ErrCodeFlowControl, "window over its limit"}
		}
		m.admit()
		return nil
	}
	s := m.table.find(f.StreamID)
	switch {
	case s == nil && (f.StreamID > m.highest || !m.opens(f.StreamID)):
		return &ConnError{http2.ErrCodeProtocol, "WINDOW_UPDATE on a stream that is not open"}
	case s == nil:
		return nil
	}
	if s.window += int64(f.Increment); s.window > maxWindow {
		m.resetLocked(s, http2.ErrCodeFlowControl)
		return nil
	}
	s.room.ring()
	return nil
}

// onReset ends a stream that the peer has given up.
func (m *mux) onReset(f *http2.RSTStreamFrame) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.table.find(f.StreamID)
	switch {
	case s == nil && (f.StreamID > m.highest || !m.opens(f.StreamID)):
		return &ConnError{http2.ErrCodeProtocol, "RST_STREAM on a stream that is not open"}
	case m.eager:
		m.resetAnswer(s, f.ErrCode)
		return nil
	case s == nil:
		m.past.note(f.StreamID, resetByThem)
		return m.tolerate(EmptyFrames)
	}
	m.calm.forgive(RapidReset, float64(m.completed))
	m.completed = 0
	s.broken = resetError(f.ErrCode)
	m.discard(s)
	m.forget(s, resetByThem)
	s.more.ring()
	s.room.ring()
	return m.tolerate(RapidReset)
}

// resetAnswer ends a stream that we opened and that the peer resets, so that it bounds
// itself. What came of the answer stays; if that is whole, it is only the rest of the
// request that nobody wants (RFC 9113 §8.1). The lock must be held.
func (m *mux) resetAnswer(s *stream, code http2.ErrCode) {
	if s == nil {
		return
	}
	if s.theirEnd {
		s.unwanted = true
	} else {
		s.broken = resetError(code)
	}
	m.forget(s, resetByThem)
	s.more.ring()
	s.room.ring()
}

// onPing answers, or notes an answer (RFC 9113 §6.7). gRPC's libraries measure the way
// by a PING with whatever DATA comes, so each such frame pays for one.
func (m *mux) onPing(f *http2.PingFrame) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f.IsAck() {
		m.role.ponged(f.Data)
		return nil
	}
	m.calm.forgive(PingFlood, float64(m.carried))
	m.carried = 0
	if err := m.tolerate(PingFlood); err != nil {
		return err
	}
	m.out = appendPing(m.buffer(), flagAck, f.Data)
	return nil
}

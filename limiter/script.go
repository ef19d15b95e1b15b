package limiter

import (
	"crypto/sha1" //nolint:gosec // because that is how Redis names scripts
	"encoding/hex"
	"strconv"
	"sync/atomic"
	"time"
)

// takeScript counts in each of its keys, each in one step, and answers with one number for
// each, in their order: foreign for a key in which somebody else keeps something, and where
// none of them could be counted in, why the first could not.
//
// A counter of the calendar is a number; ARGV: the seconds that it is kept, or 0 to look. The
// answer is how many there are with this one.
//
// A counter that slides is a hash of what passed, as in a slide of a Memory: at h stands the
// oldest moment, at t-1 the last one, at n how many passed in all of them, and at a minus
// sign and the same number how many at that moment. ARGV: "s", the moment until which is
// forgotten, the moment to count at, how many may pass, the milliseconds that it is kept,
// and 1 to count. The answer is how many have passed without this one, or, where it does
// not pass, minus one minus the oldest moment.
const takeScript = `
local call = redis.call
local function look(key) return tonumber(call('GET', key) or 0) + 1 end
local function slide(key, gone, at, most, kept, counts)
  local is = call('HMGET', key, 'n', 'h', 't')
  local n, h, t = tonumber(is[1] or 0), tonumber(is[2] or 0), tonumber(is[3] or 0)
  local first, oldest = h, 0
  while h < t do
    local moment = call('HMGET', key, h, -h - 1)
    oldest = tonumber(moment[1])
    if oldest > gone then break end
    n, h = n - tonumber(moment[2]), h + 1
    if counts then call('HDEL', key, h - 1, -h) end
  end
  if counts and h > first then call('HSET', key, 'n', n, 'h', h) end
  if n >= most then
    if h == t then return -1 end
    return -1 - oldest
  end
  if not counts then return n end
  if h < t and tonumber(call('HGET', key, t - 1)) >= at then
    call('HINCRBY', key, -t, 1)
  else
    call('HSET', key, t, at, -t - 1, 1)
    t = t + 1
  end
  call('HSET', key, 'n', n + 1, 'h', h, 't', t)
  call('PEXPIRE', key, kept)
  return n
end
local answers, a, lost, why = {}, 1, 0, nil
for i, key in ipairs(KEYS) do
  local first, n, _ = ARGV[a], nil, nil
  if first == 's' then
    _, n = pcall(slide, key, tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2]), tonumber(ARGV[a + 3]), ARGV[a + 4], ARGV[a + 5] == '1')
    a = a + 5
  elseif first == '0' then
    _, n = pcall(look, key)
  else
    n = redis.pcall('INCR', key)
    if n == 1 then call('EXPIRE', key, first) end
  end
  if type(n) ~= 'number' then
    why, lost = why or n, lost + 1
    n = ` + foreign + `
  end
  answers[i], a = n, a + 1
end
if lost == #KEYS then
  if type(why) == 'table' then return {err = why.err} end
  return {err = why}
end
return answers
`

// foreign is no count and no moment, and a number that Lua knows exactly.
const (
	foreign       = "-4503599627370496"
	foreignAnswer = -1 << 52
)

// takeName is by what a Redis that has seen takeScript knows it.
var takeName = func() string {
	sum := sha1.Sum([]byte(takeScript)) //nolint:gosec // because that is how Redis names scripts
	return hex.EncodeToString(sum[:])
}()

// An inquiry is one Take on its way to a Redis and back.
type inquiry struct {
	call *call
	key  []byte

	slides   bool
	gone, at int64 // in Unix milliseconds, where it slides
	most     int64
	kept     int64 // how long after this the key goes: seconds, or milliseconds where it slides
	peek     bool

	answer int64
	err    error       // why there is no answer
	ended  atomic.Bool // what is above stands
}

// prepare writes down what takeScript has to be told of t. Budget: 0 allocs once q's key has
// grown.
func (q *inquiry) prepare(t *Take, now time.Time, jitter time.Duration, peek bool) {
	w := &t.Window
	q.slides, q.peek, q.err = w.Burst > 0, peek, nil
	q.ended.Store(false)
	q.key = appendKey(q.key[:0], t, now)
	if !q.slides {
		q.kept = int64((w.Unit + jitter) / time.Second)
		return
	}
	length, grain := w.Unit*time.Duration(w.Burst), w.grain()
	q.gone = floorMillis(now.Add(-length))
	q.at = (now.UnixNano() + grain - 1) / grain * (grain / int64(time.Millisecond))
	q.most = w.Rate * w.Burst
	q.kept = int64((length + jitter) / time.Millisecond)
}

func floorMillis(t time.Time) int64 { return t.UnixNano() / int64(time.Millisecond) }

// settle writes down what the answer says.
func (q *inquiry) settle(t *Take, now time.Time) {
	if !q.slides {
		t.settle(q.answer, now)
		return
	}
	t.Over, t.Remaining, t.RetryAfter = q.answer < 0, 0, 0
	switch {
	case !t.Over:
		t.Remaining = max(q.most-q.answer-1, 0)
	case q.answer == -1:
		t.RetryAfter = t.Window.Unit * time.Duration(t.Window.Burst)
	default:
		oldest := time.UnixMilli(-1 - q.answer)
		t.RetryAfter = oldest.Add(t.Window.Unit * time.Duration(t.Window.Burst)).Sub(now)
	}
}

// appendKey appends the key of t: Edge Stack's for a counter of the calendar, whose window's
// beginning it ends with. Budget: 0 allocs once dst has grown.
func appendKey(dst []byte, t *Take, now time.Time) []byte {
	dst = append(append(dst, t.Name...), '_')
	if t.Window.Burst == 0 {
		return strconv.AppendInt(dst, t.Window.begin(now), 10)
	}
	dst = append(dst, '~')
	dst = strconv.AppendInt(dst, int64(t.Window.Unit/time.Second), 10)
	return strconv.AppendInt(append(dst, 'x'), t.Window.Burst, 10)
}

package limiter

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// A lane brings questions to one Redis, or to a part of a cluster, and their answers back.
// What is asked while earlier questions are under way is sent together.
type lane struct {
	r      *Redis
	client redis.UniversalClient
	window time.Duration // that a question waits for others
	limit  int           // of what is sent together
	apart  atomic.Bool   // one command must not have two keys, as they are at several nodes

	wake chan struct{}

	mu      sync.Mutex
	waiting []*inquiry
	active  int // workers that are awake

	// Who has not answered for a while is asked once in a while only, and everybody else
	// is told at once.
	down    atomic.Bool
	probed  atomic.Int64 // when it was asked the last time, in Unix nanoseconds
	sent    atomic.Int64 // batches
	failMu  sync.Mutex
	failing time.Time // since when nothing was answered; zero where it was
	fails   int       // in a row
}

const (
	// workers is how many batches of one lane are under way at the same time.
	workers = 2
	// crowd is how many wait until a second batch is under way beside the first.
	crowd = 32
	// together is how many questions are sent together where nothing else is said.
	together = 256
	// probeEvery is how often a Redis that does not answer is asked again.
	probeEvery = 100 * time.Millisecond
	// A lane is down when nothing was answered so often in a row, for so long.
	downAfter    = 3
	downAfterFor = 60 * time.Millisecond
)

// errDown is for who is not let wait for a Redis that does not answer.
var errDown = errors.New("redis has not answered for a while")

func newLane(r *Redis, p *RedisPool) *lane {
	l := &lane{r: r, client: p.Client, window: p.Window, limit: p.Limit, wake: make(chan struct{}, workers)}
	if l.limit <= 0 {
		l.limit = together
	}
	_, cluster := p.Client.(*redis.ClusterClient)
	l.apart.Store(cluster)
	for range workers {
		r.running.Go(l.work)
	}
	return l
}

// ask has q answered some time, or returns false where nobody answers.
func (l *lane) ask(q *inquiry) bool {
	if l.down.Load() {
		last, now := l.probed.Load(), l.r.clock().UnixNano()
		if now-last < int64(probeEvery) || !l.probed.CompareAndSwap(last, now) {
			return false
		}
	}
	l.mu.Lock()
	l.waiting = append(l.waiting, q)
	rouse := l.active == 0 || l.active < workers && len(l.waiting) >= crowd
	if rouse {
		l.active++
	}
	l.mu.Unlock()
	if rouse {
		l.wake <- struct{}{}
	}
	return true
}

// work sends what waits, until the store is closed.
func (l *lane) work() {
	var batch []*inquiry
	var desk desk
	for {
		select {
		case <-l.wake:
		case <-l.r.stopped.Done():
			l.finish(l.take(), errClosed)
			return
		}
		if l.window > 0 {
			l.gather()
		}
		for {
			runtime.Gosched() // who can run now may have something to ask, too
			if batch = l.next(batch[:0]); len(batch) == 0 {
				break
			}
			l.send(batch, &desk)
			clear(batch)
		}
	}
}

// gather lets others come.
func (l *lane) gather() {
	l.mu.Lock()
	full := len(l.waiting) >= l.limit
	l.mu.Unlock()
	if full {
		return
	}
	t := time.NewTimer(l.window)
	defer t.Stop()
	select {
	case <-t.C:
	case <-l.r.stopped.Done():
	}
}

// next moves what is sent together into batch. Where nothing waits, who asks goes to sleep.
func (l *lane) next(batch []*inquiry) []*inquiry {
	l.mu.Lock()
	defer l.mu.Unlock()
	if batch = l.move(batch, l.limit); len(batch) == 0 {
		l.active--
	}
	return batch
}

// take returns all that waits.
func (l *lane) take() []*inquiry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.move(nil, 0)
}

// move moves up to limit of what waits into batch, all of it for 0. Those that nobody waits
// for any more are passed over. It is for who holds mu.
func (l *lane) move(batch []*inquiry, limit int) []*inquiry {
	n := 0
	for _, q := range l.waiting {
		if limit > 0 && len(batch) == limit {
			break
		}
		n++
		if q.call.state.Load() == callAbandoned {
			q.end(errDown)
			continue
		}
		batch = append(batch, q)
	}
	rest := copy(l.waiting, l.waiting[n:])
	clear(l.waiting[rest:])
	l.waiting = l.waiting[:rest]
	return batch
}

// send asks everything in batch: in one round trip, unless Redis does not know the script
// or a part of a cluster has just moved.
func (l *lane) send(batch []*inquiry, d *desk) {
	l.sent.Add(1)
	ctx, cancel := context.WithTimeout(l.r.stopped, patienceOf(batch))
	defer cancel()
	answered, left, err := l.exchange(ctx, batch, d, false)
	for len(left) > 0 && ctx.Err() == nil {
		var n int
		n, left, err = l.exchange(ctx, left, d, true)
		answered += n
	}
	l.finish(left, err)
	l.judge(answered > 0, err)
}

// patienceOf is how long somebody waits for one of batch.
func patienceOf(batch []*inquiry) time.Duration {
	longest := time.Duration(0)
	for _, q := range batch {
		longest = max(longest, q.call.patience)
	}
	return longest
}

// exchange sends batch once, with the whole script or its name. It returns how many were
// answered, what is to be sent again as it came to nothing, and why the last one was not
// answered.
func (l *lane) exchange(ctx context.Context, batch []*inquiry, d *desk, whole bool) (answered int, again []*inquiry, failed error) {
	pipe := l.client.Pipeline()
	letters := d.write(ctx, batch, l.apart.Load(), whole)
	for i := range letters {
		_ = pipe.Process(ctx, letters[i].sent) // it only lines up
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	for i := range letters {
		letter := &letters[i]
		err := letter.read()
		switch {
		case err == nil:
			answered += len(letter.of)
		case comesToNothing(err):
			again, failed = append(again, letter.of...), err
		case len(letter.of) > 1 && strings.Contains(err.Error(), "same slot"): // of what looks like one Redis, and is many
			l.apart.Store(true)
			again, failed = append(again, letter.of...), err
		case redis.HasErrorPrefix(err, "WRONGTYPE"): // somebody else's key: Redis is well
			answered += len(letter.of)
			l.finish(letter.of, err)
		default:
			failed = err
			l.finish(letter.of, err)
		}
	}
	return answered, again, failed
}

// comesToNothing reports whether something was certainly not done, and may well be if it is
// sent again: by a Redis that wants to see the script, or in a cluster that moves a part.
func comesToNothing(err error) bool {
	return redis.HasErrorPrefix(err, "NOSCRIPT") || redis.HasErrorPrefix(err, "MOVED") ||
		redis.HasErrorPrefix(err, "ASK") || redis.HasErrorPrefix(err, "TRYAGAIN")
}

// finish ends questions that nobody was asked.
func (l *lane) finish(batch []*inquiry, err error) {
	for _, q := range batch {
		q.end(err)
	}
}

// judge notes whether a batch was answered.
func (l *lane) judge(answered bool, err error) {
	l.failMu.Lock()
	defer l.failMu.Unlock()
	now := l.r.clock()
	if answered {
		l.rise()
		return
	}
	if l.fails++; l.fails == 1 {
		l.failing = now
	}
	if l.fails >= downAfter && now.Sub(l.failing) >= downAfterFor {
		l.fall(now, err)
	}
}

// rise has everybody wait for answers again.
func (l *lane) rise() {
	l.failing, l.fails = time.Time{}, 0
	if l.down.CompareAndSwap(true, false) {
		l.r.upAgain()
	}
}

// fall has nobody wait any more.
func (l *lane) fall(now time.Time, err error) {
	l.probed.Store(now.UnixNano())
	if l.down.CompareAndSwap(false, true) {
		l.r.downNow(err)
	}
	l.finish(l.take(), errDown)
}

// told is what a question of nobody in particular says, while no other was asked.
func (l *lane) told(err error) {
	l.failMu.Lock()
	defer l.failMu.Unlock()
	if err == nil {
		l.rise()
		return
	}
	if l.down.CompareAndSwap(false, true) {
		l.r.downNow(err)
	}
}

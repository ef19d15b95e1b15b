package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A folder is what a gateway serves, and what it is told.
type folder struct {
	*gateway
	dir, up string
}

func startFolder(t testing.TB, fill func(f *folder)) *folder {
	t.Helper()
	f := &folder{dir: filepath.Join(t.TempDir(), "manifests"), up: echo(t, "up")}
	must(t, os.Mkdir(f.dir, 0o700))
	fill(f)
	f.gateway = start(t, setup{manifests: everyone, extra: []string{f.dir}})
	return f
}

// mapping is the text of a Mapping for /name/.
func (f *folder) mapping(name string) []byte {
	return []byte(mapping(name, "/"+name+"/", f.up))
}

func (f *folder) put(t testing.TB, name, path string) {
	t.Helper()
	path = filepath.Join(f.dir, path)
	must(t, os.MkdirAll(filepath.Dir(path), 0o700))
	must(t, os.WriteFile(path, f.mapping(name), 0o600))
}

// serves waits until exactly those of the names that may be served are.
func (f *folder) serves(t testing.TB, after string, want ...string) {
	t.Helper()
	eventually(t, 15*time.Second, fmt.Sprintf("%s, %v serve", after, want), func() bool {
		var got []string
		for _, r := range view[[]struct{ Prefix string }](f.gateway, "routes") {
			got = append(got, strings.Trim(r.Prefix, "/"))
		}
		slices.Sort(got)
		return slices.Equal(got, want)
	})
	for _, name := range want {
		if a := f.send(t, request{target: "/" + name + "/"}); f.verdict(t, a) != served {
			t.Errorf("%s, /%s/: %v", after, name, f.verdict(t, a))
		}
	}
}

// A ConfigMap's files are links through "..data", which the kubelet swaps.
func TestConfigMapMount(t *testing.T) {
	t.Parallel()
	link := func(f *folder, target, name string) {
		t.Helper()
		must(t, os.Symlink(target, filepath.Join(f.dir, "..tmp")))
		must(t, os.Rename(filepath.Join(f.dir, "..tmp"), filepath.Join(f.dir, name)))
	}
	f := startFolder(t, func(f *folder) {
		f.put(t, "one", "..2026_01/all.yaml")
		link(f, "..2026_01", "..data")
		link(f, "..data/all.yaml", "all.yaml")
	})
	f.serves(t, "at the start", "one")
	last := "..2026_01"
	for i, name := range []string{"two", "three", "four"} {
		next := fmt.Sprintf("..2026_0%d", i+2)
		f.put(t, name, next+"/all.yaml")
		link(f, next, "..data")
		must(t, os.RemoveAll(filepath.Join(f.dir, last)))
		f.serves(t, "after the swap", name)
		last = next
	}
}

func TestFilesThatChange(t *testing.T) {
	t.Parallel()
	f := startFolder(t, func(f *folder) { f.put(t, "a", "a.yaml"); f.put(t, "b", "b.yaml") })
	f.serves(t, "at the start", "a", "b")

	// As an editor saves: beside the file, then over it.
	must(t, os.WriteFile(filepath.Join(f.dir, ".a.yaml.swp"), []byte("draft"), 0o600))
	f.put(t, "a2", "a.yaml~")
	must(t, os.Rename(filepath.Join(f.dir, "a.yaml~"), filepath.Join(f.dir, "a.yaml")))
	f.serves(t, "after an editor's save", "a2", "b")

	f.put(t, "a3", "a.yaml")
	f.serves(t, "after a write in place", "a3", "b")
	f.put(t, "c", "new/deep/c.yml")
	f.serves(t, "after a new folder", "a3", "b", "c")
	must(t, os.Remove(filepath.Join(f.dir, "b.yaml")))
	f.serves(t, "after a file was deleted", "a3", "c")

	// Of a file that turns to nonsense, what can be read serves; what cannot may be what
	// was there before, which stays until somebody knows.
	must(t, os.WriteFile(filepath.Join(f.dir, "a.yaml"), append(f.mapping("a4"), "---\n{torn: ["...), 0o600))
	f.serves(t, "beside a torn document", "a3", "a4", "c")
	if p := f.problems(); len(p) != 1 || !strings.Contains(p[0].Message, "cannot be read as YAML") {
		t.Errorf("problems %+v", p)
	}
	f.put(t, "a5", "a.yaml")
	f.serves(t, "once it is mended", "a5", "c")
	if p := f.problems(); len(p) != 0 {
		t.Errorf("problems %+v once it is mended", p)
	}
}

// What cannot be read has not been deleted: it goes on serving, and is complained of.
func TestFilesThatVanish(t *testing.T) {
	t.Parallel()
	f := startFolder(t, func(f *folder) { f.put(t, "a", "a.yaml"); f.put(t, "b", "b.yaml") })
	f.serves(t, "at the start", "a", "b")
	complains := func(what string) {
		t.Helper()
		eventually(t, 15*time.Second, "there is a problem: "+what, func() bool {
			p := f.problems()
			return len(p) == 1 && strings.Contains(p[0].Text, what) && strings.Contains(p[0].Text, "what it held before is kept")
		})
	}

	b := filepath.Join(f.dir, "b.yaml")
	must(t, os.Truncate(b, 65<<20)) // not even root reads what is too large
	complains("b.yaml: cannot be read: is larger than 64 MiB")
	f.serves(t, "with a file that cannot be read", "a", "b")
	f.put(t, "b2", "b.yaml")
	f.serves(t, "once it can", "a", "b2")

	must(t, os.Rename(f.dir, f.dir+".away"))
	complains("manifests: cannot be read: no such file or directory")
	f.serves(t, "without the folder", "a", "b2")
	must(t, os.Rename(f.dir+".away", f.dir))
	f.put(t, "c", "c.yaml")
	f.serves(t, "with the folder back", "a", "b2", "c")

	// A hard link changes the content and tells nobody; a signal does.
	outside := filepath.Join(t.TempDir(), "same")
	must(t, os.Link(filepath.Join(f.dir, "a.yaml"), outside))
	must(t, os.WriteFile(outside, f.mapping("a2"), 0o600))
	f.signal(syscall.SIGHUP)
	f.serves(t, "after SIGHUP", "a2", "b2", "c")
}

// tenThousand are as many Mappings, as a cluster dump holds them; one is another's.
func tenThousand(up string, changed, generation int) string {
	var b strings.Builder
	for i := range 10_000 {
		to := 0
		if i == changed {
			to = generation
		}
		fmt.Fprintf(&b, `---
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata:
  name: mapping-%05d
  namespace: shop
spec:
  hostname: "*"
  prefix: /service-%05d/
  service: %s
  rewrite: /generation-%d/
`, i, i, up, to)
	}
	return b.String()
}

// spent is the time that the program has had of any core, to the hundredth of a second.
func (g *gateway) spent() time.Duration {
	g.t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", g.cmd.Process.Pid))
	must(g.t, err)
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])) // the third field is the first of these
	user, err := strconv.Atoi(f[14-3])
	must(g.t, err)
	system, err := strconv.Atoi(f[15-3])
	must(g.t, err)
	return time.Duration(user+system) * 10 * time.Millisecond
}

// quickly is what one change among ten thousand may take, from its being written to its
// serving, of which a fifth is waiting for the end of the writing and as much for others.
const quickly = 50 * time.Millisecond

// busy is how much longer it may take here: other tests have their share of two cores, and
// are as many as there are cores. A change for which everything is made anew takes six
// times as long even where nothing else runs.
const busy = 3

// One Mapping among ten thousand changes, and soon serves. Only what has to do with it is
// made anew for that, which takes a fraction of one core, and little memory.
func TestChangeAmongTenThousand(t *testing.T) {
	const changed, changes = 7_777, 9
	up := echo(t, "up")
	g := start(t, setup{plain: true, args: []string{"--log-level", "warn"}, manifests: everyone + tenThousand(up, changed, 0)})
	rss := g.memory("VmRSS")
	t.Logf("resident with ten thousand Mappings: %d MiB", rss>>20)
	if rss > 120<<20 {
		t.Errorf("resident: %d MiB, want at most 120", rss>>20)
	}
	c := g.connect(t)
	ask := request{target: fmt.Sprintf("/service-%05d/", changed)}
	var each []time.Duration
	calm := time.Now().Add(time.Second)
	before := g.spent()
	for n := 1; n <= changes; n++ {
		manifests := everyone + tenThousand(up, changed, n)
		eventually(t, 2*time.Second, "the next change comes alone", func() bool { return time.Now().After(calm) })
		written := time.Now()
		g.write(manifests)
		eventually(t, 20*time.Second, "the change serves", func() bool {
			a, err := c.exchange(ask)
			must(t, err)
			return a.saw.Target == fmt.Sprintf("/generation-%d/", n)
		})
		each = append(each, time.Since(written))
		calm = time.Now().Add(time.Second)
	}
	work := (g.spent() - before) / time.Duration(len(each))
	t.Logf("of the cores: %v a change", work)
	if limit := quickly * busy; work > limit { // the questions of the test are among it
		t.Errorf("%v of the cores for a change, want at most %v", work, limit)
	}
	slices.Sort(each)
	median := each[changes/2]
	t.Logf("from the change to its serving: %v (median of %d; %v to %v)", median.Round(time.Millisecond), len(each), each[0].Round(time.Millisecond), each[changes-1].Round(time.Millisecond))
	if limit := quickly * busy; median > limit {
		t.Errorf("%v in the median, want at most %v", median, limit)
	}
}

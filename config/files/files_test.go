package files

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"legate/config"
	"legate/config/decode"
)

// mapping is the text of a Mapping.
func mapping(name string) string {
	return "---\napiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata: {name: " + name + "}\nspec: {prefix: /" + name + "/, service: " + name + "}\n"
}

// said renders the names of objects and the messages of problems, one word each.
func said(objects []*config.Object) string {
	var words []string
	for _, o := range objects {
		if o.Value != nil {
			words = append(words, o.Meta.Name)
		}
		for _, p := range o.Problems {
			words = append(words, "!"+filepath.Base(p.Ref.File)+": "+p.Msg)
		}
	}
	return strings.Join(words, " ")
}

func write(t *testing.T, text string, path ...string) string {
	t.Helper()
	p := filepath.Join(path...)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

// A watched is a Source at work, and what it yields.
type watched struct {
	t      *testing.T
	source *Source
	yields chan string
}

func watchPaths(t *testing.T, rescan time.Duration, paths ...string) *watched {
	t.Helper()
	w := &watched{t: t, source: New(paths, decode.Options{}), yields: make(chan string)}
	w.source.Rescan = rescan
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- w.source.Watch(ctx, func(objects []*config.Object) {
			select {
			case w.yields <- said(objects):
			case <-ctx.Done():
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Watch: %v", err)
		}
	})
	return w
}

// until takes yields until one says want.
func (w *watched) until(want string) {
	w.t.Helper()
	last := "nothing"
	for {
		select {
		case last = <-w.yields:
			if last == want {
				return
			}
		case <-time.After(10 * time.Second):
			w.t.Fatalf("yielded at last: %s\nwant: %s", last, want)
		}
	}
}

func TestReadFolder(t *testing.T) {
	dir := t.TempDir()
	write(t, mapping("c"), dir, "z.yml")
	write(t, mapping("a"), dir, "a.yaml")
	write(t, `{"apiVersion": "getambassador.io/v3alpha1", "kind": "Mapping", "metadata": {"name": "b"}, "spec": {"prefix": "/b/", "service": "b"}}`, dir, "sub", "deep", "b.JSON")
	write(t, mapping("hidden"), dir, ".hidden.yaml")
	write(t, mapping("hidden"), dir, ".git", "hidden.yaml")
	write(t, "not a manifest: [", dir, "README.md")
	single := write(t, mapping("named"), t.TempDir(), "no-extension")

	objects, err := Read([]string{dir, single, filepath.Join(dir, "a.yaml")}, decode.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := said(objects), "a b c named"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := objects[0].Meta.File, filepath.Join(dir, "a.yaml"); got != want {
		t.Errorf("file is %q, want %q", got, want)
	}
}

func TestReadWhatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	write(t, mapping("a"), dir, "a.yaml")
	if err := os.Symlink("nowhere", filepath.Join(dir, "b.yaml")); err != nil {
		t.Fatal(err)
	}
	large := write(t, "", dir, "c.yaml")
	if err := os.Truncate(large, maxSize+1); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(".", filepath.Join(dir, "circle")); err != nil {
		t.Fatal(err)
	}
	write(t, mapping("d"), dir, "d.yaml")
	objects, err := Read([]string{filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yaml")}, decode.Options{})
	if err == nil {
		t.Errorf("a path that does not exist: got %q, want an error", said(objects))
	}
	objects, err = Read([]string{dir}, decode.Options{})
	got := said(objects)
	want := "a !b.yaml: cannot be read: no such file or directory !c.yaml: cannot be read: is larger than 64 MiB d"
	if err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestWatchChanges(t *testing.T) {
	dir := t.TempDir()
	a := write(t, mapping("a"), dir, "a.yaml")
	w := watchPaths(t, time.Hour, dir)
	w.until("a")

	write(t, mapping("a2"), dir, "a.yaml")
	w.until("a2")
	write(t, mapping("b"), dir, "later", "deep", "b.yaml")
	w.until("a2 b")
	write(t, mapping("b2"), dir, "later", "deep", "b.yaml")
	w.until("a2 b2")

	// An editor writes beside the file and renames.
	if err := os.Rename(write(t, mapping("a3"), dir, "a.yaml.tmp"), a); err != nil {
		t.Fatal(err)
	}
	w.until("a3 b2")

	// Half a file; then the rest of it.
	text := mapping("a4") + "---\n{half: ["
	write(t, text, dir, "a.yaml")
	w.until("a4 !a.yaml: cannot be read as YAML: did not find expected node content b2")
	write(t, mapping("a4")+mapping("a5"), dir, "a.yaml")
	w.until("a4 a5 b2")

	if err := os.RemoveAll(filepath.Join(dir, "later")); err != nil {
		t.Fatal(err)
	}
	w.until("a4 a5")
	write(t, mapping("b"), dir, "later", "b.yaml")
	w.until("a4 a5 b")
	if err := os.Remove(a); err != nil {
		t.Fatal(err)
	}
	w.until("b")
}

// A ConfigMap is mounted as links through "..data", which is swapped as a whole.
func TestWatchConfigMap(t *testing.T) {
	dir := t.TempDir()
	link := func(target, name string) {
		t.Helper()
		if err := os.Symlink(target, filepath.Join(dir, "tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "tmp"), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	write(t, mapping("v1"), dir, "..v1", "a.yaml")
	write(t, mapping("v2"), dir, "..v2", "a.yaml")
	write(t, mapping("v3"), dir, "..v3", "a.yaml")
	link("..v1", "..data")
	link("..data/a.yaml", "a.yaml")
	folder := watchPaths(t, time.Hour, dir)
	file := watchPaths(t, time.Hour, filepath.Join(dir, "a.yaml"))
	folder.until("v1")
	file.until("v1")
	for _, v := range []string{"v2", "v3"} {
		link(".."+v, "..data")
		folder.until(v)
		file.until(v)
	}
}

func TestWatchNamedFile(t *testing.T) {
	dir := t.TempDir()
	a := write(t, mapping("a"), dir, "a.yaml")
	w := watchPaths(t, time.Hour, a)
	w.until("a")
	write(t, mapping("other"), dir, "other.yaml")
	if err := os.Remove(a); err != nil {
		t.Fatal(err)
	}
	w.until("a !a.yaml: cannot be read: no such file or directory")
	write(t, mapping("a2"), dir, "a.yaml")
	w.until("a2")
}

// A path without a folder is one in the folder where the process was started.
func TestWatchNamedFileHere(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, mapping("a"), "a.yaml")
	w := watchPaths(t, time.Hour, "a.yaml")
	w.until("a")
	write(t, mapping("a2"), "a.yaml")
	w.until("a2")
	if err := os.Rename(write(t, mapping("a3"), "a.tmp"), "a.yaml"); err != nil {
		t.Fatal(err)
	}
	w.until("a3")
}

func TestWatchVanishedFolderKeepsItsObjects(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "manifests")
	write(t, mapping("a"), dir, "a.yaml")
	write(t, mapping("b"), dir, "b.yaml")
	w := watchPaths(t, time.Hour, dir)
	w.until("a b")
	if err := os.Rename(dir, dir+".old"); err != nil {
		t.Fatal(err)
	}
	w.until("a b !manifests: cannot be read: no such file or directory")
	write(t, mapping("c"), dir, "c.yaml")
	w.until("c")
}

func TestWatchUnreadableFileKeepsItsObjects(t *testing.T) {
	dir := t.TempDir()
	write(t, mapping("a"), dir, "a.yaml")
	b := write(t, mapping("b"), dir, "b.yaml")
	w := watchPaths(t, time.Hour, dir)
	w.until("a b")
	if err := os.Truncate(b, maxSize+1); err != nil {
		t.Fatal(err)
	}
	w.until("a b !b.yaml: cannot be read: is larger than 64 MiB")
	write(t, mapping("b2"), dir, "b.yaml")
	w.until("a b2")
}

func TestWatchRescanAndReload(t *testing.T) {
	dir := t.TempDir()
	a := write(t, mapping("a"), dir, "a.yaml")
	w := watchPaths(t, 20*time.Millisecond, dir)
	w.until("a")
	// A hard link changes the content of a.yaml and tells nobody.
	outside := filepath.Join(t.TempDir(), "same")
	if err := os.Link(a, outside); err != nil {
		t.Skipf("no hard links here: %v", err)
	}
	if err := os.WriteFile(outside, []byte(mapping("rescanned")), 0o644); err != nil {
		t.Fatal(err)
	}
	w.until("rescanned")

	w = watchPaths(t, time.Hour, dir)
	w.until("rescanned")
	if err := os.WriteFile(outside, []byte(mapping("reloaded")), 0o644); err != nil {
		t.Fatal(err)
	}
	w.source.Reload()
	w.until("reloaded")
}

func TestWatchMissingPathFails(t *testing.T) {
	err := New([]string{filepath.Join(t.TempDir(), "nothing")}, decode.Options{}).Watch(t.Context(), func([]*config.Object) {
		t.Error("yielded")
	})
	if err == nil || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("got %v, want an error that names the path", err)
	}
}

// tenThousand is a file of 2 MB; the given Mapping has another timeout.
func tenThousand(changed int) []byte {
	var b strings.Builder
	for i := range 10_000 {
		timeout := 3000
		if i == changed {
			timeout = 4000
		}
		fmt.Fprintf(&b, `---
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata:
  name: mapping-%05d
  namespace: shop
spec:
  hostname: shop.example.com
  prefix: /service-%05d/
  service: service-%05d.shop:8080
  timeout_ms: %d
`, i, i, i, timeout)
	}
	return []byte(b.String())
}

// BenchmarkReload10k is what one changed Mapping among ten thousand costs, from
// reading the file to the World.
func BenchmarkReload10k(b *testing.B) {
	path := filepath.Join(b.TempDir(), "all.yaml")
	r := newReader([]string{path}, decode.Options{})
	change := func(i int) {
		if err := os.WriteFile(path, tenThousand(i), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	change(0)
	before := r.read(r.scan())
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		change(i % 10_000)
		b.StartTimer()
		objects := r.read(r.scan())
		if w := config.Merge(config.Options{}, objects); len(w.Mappings) != 10_000 || len(before) != 10_000 {
			b.Fatalf("%d Mappings", len(w.Mappings))
		}
	}
}

// BenchmarkChangeToWorld10k is the time from the end of a write to the new World,
// with everything between that waits.
func BenchmarkChangeToWorld10k(b *testing.B) {
	path := filepath.Join(b.TempDir(), "all.yaml")
	change := func(i int) {
		if err := os.WriteFile(path, tenThousand(i), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	change(0)
	worlds, done := make(chan config.World), make(chan error, 1)
	ctx, cancel := context.WithCancel(b.Context())
	loop := config.Loop{
		Sources: []config.Source{New([]string{path}, decode.Options{})},
		Apply: func(w config.World, _ config.Instead) []config.Problem {
			select {
			case worlds <- w:
			case <-ctx.Done():
			}
			return nil
		},
	}
	go func() { done <- loop.Run(ctx) }()
	<-worlds
	for i := 1; b.Loop(); i++ {
		b.StopTimer()
		change(i % 10_000)
		b.StartTimer()
		for len((<-worlds).Mappings) != 10_000 {
			b.Log("a half-written file became a World")
		}
	}
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

// BenchmarkFirstRead10k is what the same file costs at the start.
func BenchmarkFirstRead10k(b *testing.B) {
	path := filepath.Join(b.TempDir(), "all.yaml")
	if err := os.WriteFile(path, tenThousand(-1), 0o644); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Read([]string{path}, decode.Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

// Where nothing can be watched, looking around must do, and must be said.
func TestWatchWithoutNotifications(t *testing.T) {
	a := write(t, mapping("a"), t.TempDir(), "a.yaml")
	w := watch{reader: newReader([]string{a}, decode.Options{}), blind: os.ErrPermission}
	if got, want := said(w.refresh()), "a !.: no file can be watched: permission denied"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if w.changed() {
		t.Error("changed although nobody wrote")
	}
	write(t, mapping("a")+mapping("b"), a)
	if !w.changed() {
		t.Error("a longer file is not seen as changed")
	}
}

package e2e

import (
	"debug/buildinfo"
	"encoding/json"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// What make sbom writes has every module that is in the binary, with its version and what
// others know it by, and no other.
func TestSBOM(t *testing.T) {
	path, err := filepath.Abs(binary)
	must(t, err)
	text, err := output(t, time.Minute, "cyclonedx-gomod", "bin", "-json", "-std", "-version", "1.2.3", path)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	var list struct {
		BOMFormat, SpecVersion string
		Metadata               struct {
			Component struct{ Name, Version string }
		}
		Components []struct {
			Type, Name, Version, PURL string
			Hashes                    []struct{ Alg, Content string }
		}
	}
	must(t, json.Unmarshal([]byte(text), &list))
	if list.BOMFormat != "CycloneDX" || list.SpecVersion < "1.5" || list.Metadata.Component.Name != "legate" || list.Metadata.Component.Version != "1.2.3" {
		t.Errorf("it is %s %s of %+v", list.BOMFormat, list.SpecVersion, list.Metadata.Component)
	}
	info, err := buildinfo.ReadFile(path)
	must(t, err)
	want := []string{"std " + info.GoVersion}
	for _, m := range info.Deps {
		want = append(want, m.Path+" "+m.Version)
	}
	var got []string
	for _, c := range list.Components {
		got = append(got, c.Name+" "+c.Version)
		if c.Type != "library" || c.PURL == "" || c.Name != "std" && (len(c.Hashes) == 0 || c.Hashes[0].Content == "") {
			t.Errorf("%s: %+v", c.Name, c)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if len(want) < 20 || !slices.Equal(got, want) {
		t.Errorf("it has\n%v\nthe binary\n%v", got, want)
	}
}

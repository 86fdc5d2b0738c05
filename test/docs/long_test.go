package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestLongTestsHaveACommand holds the Makefile to running each test that OTPOST_SOAK makes longer: one whose text,
// or comment, or a helper of its file that it calls, reads the variable.
func TestLongTestsHaveACommand(t *testing.T) {
	t.Parallel()
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	reads := regexp.MustCompile(`OTPOST_SOAK|\bsoak\(\)|\bscale\(|\bl\.rounds\(|\blarge\(\)`)
	function := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	found := 0
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") || filepath.Base(path) == "long_test.go" {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for one := range strings.SplitSeq(string(content), "\n}\n") {
			name := function.FindStringSubmatch(one)
			if name == nil || !reads.MatchString(one) {
				continue
			}
			found++
			if !strings.Contains(string(makefile), name[1]) {
				t.Errorf("no target of the Makefile runs %s in its long version", name[1])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < 10 {
		t.Errorf("%d tests have a long version: the test finds too few", found)
	}
}

package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestNamedTestsExist holds the tables of limits and of failures to what they promise: a row with a column of tests
// names tests that exist, or says "none:" and why.
func TestNamedTestsExist(t *testing.T) {
	t.Parallel()
	tests := allTests(t)
	name := regexp.MustCompile("`((?:Test|Fuzz|Benchmark)[A-Za-z0-9_]+)`")
	for _, page := range []string{"limits.md", "architecture.md"} {
		content, err := os.ReadFile(filepath.Join(root, "docs", page))
		if err != nil {
			t.Fatal(err)
		}
		inside := false // a table whose last column is "test"
		rows := 0
		for n, line := range strings.Split(string(content), "\n") {
			columns := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
			last := strings.TrimSpace(columns[len(columns)-1])
			switch {
			case !strings.HasPrefix(line, "|"):
				inside = false
				continue
			case last == "test" || last == "tests":
				inside = true
				continue
			case !inside || strings.Trim(last, "-: ") == "":
				continue
			}
			rows++
			named := name.FindAllStringSubmatch(last, -1)
			if len(named) == 0 && !strings.HasPrefix(last, "none:") {
				t.Errorf("%s:%d: the row names no test", page, n+1)
			}
			for _, one := range named {
				if !tests[one[1]] {
					t.Errorf("%s:%d: there is no test %s", page, n+1, one[1])
				}
			}
		}
		if page == "limits.md" && rows == 0 {
			t.Error("limits.md has no table of limits")
		}
	}
}

// allTests returns the names of all test functions of the repository.
func allTests(t *testing.T) map[string]bool {
	t.Helper()
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)[A-Za-z0-9_]+)\(`)
	tests := make(map[string]bool)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") && !strings.HasSuffix(path, "test.go") {
			return err
		}
		content, err := os.ReadFile(path)
		for _, found := range declared.FindAllSubmatch(content, -1) {
			tests[string(found[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests
}

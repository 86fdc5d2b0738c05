package plans

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// unsent are parts of statements in the source that no test of the packages can send, with the reason.
var unsent = map[string]string{
	"INSERT INTO write_probe (id, content) VALUES (1, randomblob(150)) " +
		"ON CONFLICT (id) DO UPDATE SET content = excluded.content": "otpost bench sends it, to a database of its own",
}

var (
	sqlText = regexp.MustCompile(`(?s)^\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH) .*\S`)
	verb    = regexp.MustCompile(`%(\[\d+\])?[a-z]`)
)

// TestTestsRunEveryStatementOfTheSource wants each text of SQL in the program's source to be a part of a statement
// that the tests ran, so that TestNoStatementReadsAWholeTableThatGrows has seen them all.
func TestTestsRunEveryStatementOfTheSource(t *testing.T) {
	t.Parallel()
	var texts []string
	for _, text := range recorded(t) {
		texts = append(texts, space.ReplaceAllString(text, " "))
	}
	all := strings.Join(texts, "\n")
	found := 0
	err := filepath.WalkDir("../../internal", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") ||
			// it knows no record: what it sends is its own, or a migration's
			slices.Contains(strings.Split(path, "/"), "store") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			literal, ok := n.(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING {
				return true
			}
			text, err := strconv.Unquote(literal.Value)
			if err != nil || !sqlText.MatchString(text) {
				return true
			}
			found++
			for _, part := range verb.Split(text, -1) {
				part = strings.TrimSpace(space.ReplaceAllString(part, " "))
				if unsent[part] == "" && !strings.Contains(all, part) {
					t.Errorf("%s: no test has run\n\t%s", path, part)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < 100 {
		t.Errorf("%d texts of SQL found in the source", found)
	}
	t.Logf("%d texts of SQL in the source", found)
}

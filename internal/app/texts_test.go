package app_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"otpost/internal/login"
	"otpost/internal/mail"
)

// texts reads the pages' texts in a language.
func texts(t *testing.T, language string) map[string]string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "webui", "text", language+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]string
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// constants returns the values of a package's constants of a type, as its source has them: one that is added is found.
func constants(t *testing.T, dir, name string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("..", dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if kind, ok := spec.Type.(*ast.Ident); !ok || kind.Name != name || len(spec.Values) != 1 {
				return true
			}
			if literal, ok := spec.Values[0].(*ast.BasicLit); ok {
				value, err := strconv.Unquote(literal.Value)
				if err != nil {
					t.Fatal(err)
				}
				values = append(values, value)
			}
			return true
		})
	}
	if len(values) < 2 {
		t.Fatalf("internal/%s has %d constants of type %s", dir, len(values), name)
	}
	return values
}

// TestPagesHaveATextForEachWordOfREST: whatever a delivery, an attempt or a diagnosis can say is said in each language.
func TestPagesHaveATextForEachWordOfREST(t *testing.T) {
	t.Parallel()
	for _, language := range []string{"en", "de"} {
		all := texts(t, language)
		for _, kind := range []struct{ dir, name, prefix string }{
			{"mail", "Diagnosis", "diagnosis."}, {"mail", "Class", "result."}, {"smtp", "Phase", "phase."},
			{"delivery", "State", "state."}, {"delivery", "Reason", "reason."}, {"delivery", "Via", "via."},
		} {
			for _, value := range constants(t, kind.dir, kind.name) {
				if value != "" && all[kind.prefix+value] == "" {
					t.Errorf("%s.json has no %s%s", language, kind.prefix, value)
				}
			}
		}
	}
}

// TestPagesAdviseAsRESTDoes: the English sentence of a page is that of REST, and each language has
// one that names the server and its reply where that of REST does.
func TestPagesAdviseAsRESTDoes(t *testing.T) {
	t.Parallel()
	en, de := texts(t, "en"), texts(t, "de")
	for _, advice := range mail.Advices() {
		key := "diagnosis." + string(advice.Diagnosis)
		if want := strings.NewReplacer("{server}", "{0}", "{reply}", "{1}").Replace(advice.Sentence); en[key] != want {
			t.Errorf("%s: %q, want %q", key, en[key], want)
		}
		for _, place := range []string{"{0}", "{1}"} {
			if strings.Contains(en[key], place) != strings.Contains(de[key], place) || de[key] == en[key] {
				t.Errorf("%s in German: %q", key, de[key])
			}
		}
	}
}

// keys returns the keys of all faults and findings, as the source of the packages has them.
func keys(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("..", "*", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	nested, err := filepath.Glob(filepath.Join("..", "*", "*", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, path := range append(paths, nested...) {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if key := keyOf(n); key != nil {
				text, err := strconv.Unquote(key.Value)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, text)
			}
			return true
		})
	}
	return all
}

// keyOf returns the key in a call that makes a fault or a finding, or in a literal; nil for every other node.
func keyOf(n ast.Node) *ast.BasicLit {
	var key ast.Expr
	switch n := n.(type) {
	case *ast.CompositeLit:
		if kind, ok := n.Type.(*ast.SelectorExpr); ok && kind.Sel.Name == "Finding" {
			return literalOf(n, "Key")
		}
	case *ast.CallExpr:
		at := map[string]int{"New": 1, "Newf": 1, "Wrap": 2, "Wrong": 1, "found": 1, "refused": 1}
		switch f := n.Fun.(type) {
		case *ast.Ident:
			if i := at[f.Name]; f.Name != "New" && i > 0 && i < len(n.Args) {
				key = n.Args[i]
			}
		case *ast.SelectorExpr:
			from, _ := f.X.(*ast.Ident)
			if i := at[f.Sel.Name]; from != nil && (from.Name == "fault" || from.Name == "mail") && i > 0 &&
				i < len(n.Args) {
				key = n.Args[i]
			}
		}
	}
	literal, _ := key.(*ast.BasicLit)
	return literal
}

// literalOf returns the literal of a member of a struct; nil: none.
func literalOf(of *ast.CompositeLit, member string) *ast.BasicLit {
	for _, element := range of.Elts {
		pair, ok := element.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		if name, ok := pair.Key.(*ast.Ident); ok && name.Name == member {
			literal, _ := pair.Value.(*ast.BasicLit)
			return literal
		}
	}
	return nil
}

// TestEveryFaultHasATextInEachLanguage: what REST refuses, and what it warns of, is shown in each language.
func TestEveryFaultHasATextInEachLanguage(t *testing.T) {
	t.Parallel()
	all := keys(t)
	if len(all) < 100 {
		t.Fatalf("found %d keys: %q", len(all), all)
	}
	for _, language := range []string{"en", "de"} {
		texts := texts(t, language)
		for _, key := range append(all, login.Result{Authentication: login.Reject}.Key()) {
			if texts["fault."+key] == "" {
				t.Errorf("%s.json has no fault.%s", language, key)
			}
		}
	}
}

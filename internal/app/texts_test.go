package app_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

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
			{"mail", "Diagnosis", "diagnosis."}, {"mail", "Class", "result."},
			{"delivery", "Diagnosis", "diagnosis."}, {"delivery", "Class", "result."}, {"smtp", "Phase", "phase."},
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

// refusals returns what the pages show of what REST says about the form of an SMTP server, as the
// source has it: with {0}, {1} ... for what is put in, and with a capital letter at the begin.
func refusals(t *testing.T) []string {
	t.Helper()
	var all []string
	paths, err := filepath.Glob(filepath.Join("..", "mail", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(paths, filepath.Join("..", "httpapi", "testmail.go")) {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				all = append(all, refusal(call)...)
			}
			return true
		})
	}
	return all
}

var (
	verb  = regexp.MustCompile(`%[a-z]`)
	about = regexp.MustCompile(`^(ERR905: Parameter [^ ]+: |(server|port): )`)
)

// refusal returns the sentence of a call that makes one.
func refusal(call *ast.CallExpr) []string {
	name := ""
	switch f := call.Fun.(type) {
	case *ast.Ident:
		name = f.Name
	case *ast.SelectorExpr:
		name = f.Sel.Name
	}
	at := map[string]int{"found": 2, "New": 2, "Newf": 2, "Wrong": 2}
	i, ok := at[name]
	if !ok || len(call.Args) <= i {
		return nil
	}
	literal, ok := call.Args[i].(*ast.BasicLit)
	if !ok || literal.Kind != token.STRING {
		return nil
	}
	text, err := strconv.Unquote(literal.Value)
	if err != nil {
		return nil
	}
	text = about.ReplaceAllString(text, "")
	n := -1
	text = verb.ReplaceAllStringFunc(text, func(string) string { n++; return "{" + strconv.Itoa(n) + "}" })
	if !strings.Contains(text, " ") || strings.HasPrefix(text, "ERR905") || text == "%{0}" {
		return nil // it only hands on another
	}
	return []string{strings.ToUpper(text[:1]) + text[1:]}
}

// TestRefusalsOfServersAreTranslated: whatever REST says about the form of an SMTP server is said in German.
func TestRefusalsOfServersAreTranslated(t *testing.T) {
	t.Parallel()
	all := refusals(t)
	if len(all) < 30 {
		t.Fatalf("found %d sentences: %q", len(all), all)
	}
	de := texts(t, "de")
	for _, sentence := range all {
		if de["said."+sentence] == "" {
			t.Errorf("de.json has no said.%s", sentence)
		}
	}
}

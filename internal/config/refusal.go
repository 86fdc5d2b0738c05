package config

// refusal is a piece of Python that pi.cfg must not have, and what to write instead. The manual
// lists all of them.
type refusal struct {
	what    string // as it is written in Python; the key of this table
	message string
	hint    string
}

const onlyAssignments = "pi.cfg holds assignments only"

// refusals returns the table. refusalOf finds a row by its first column.
func refusals() []refusal {
	return []refusal{
		{"f''", "f-strings are not allowed", "write 'text %s' % NAME or 'text ' + NAME"},
		{"import", "this import is not allowed", writeOut},
		{"import *", "import * is not allowed", "name what you import"},
		{"open()", "open is not allowed", "pi.cfg opens no files; for a secret write NAME_FILE = '/path' " +
			"(SECRET_KEY_FILE) instead of NAME"},
		{"with", "with is not allowed", "pi.cfg opens no files; for a secret write NAME_FILE = '/path' " +
			"(SECRET_KEY_FILE) instead of NAME"},
		{"try", "try is not allowed", "write os.environ.get('NAME', 'default') for what may be missing"},
		{"def", "functions are not allowed", "write the value out"},
		{"lambda", "lambda is not allowed", "write the value out"},
		{"while", "while is not allowed", "write the list out or use [... for ... in ...]"},
		{"A = B = 1", "two assignments in one are not allowed", "write a line for each name"},
		{"A: int = 1", "annotations are not allowed", "write NAME = value"},
		{"1_000", "underscores in numbers are not allowed", "write 1000"},
		{"is", "is compares with None, True and False only", "write == or !="},
		{"**", "powers are not allowed", "write the number out"},
		{":=", ":= is not allowed", "write the assignment on a line of its own"},
		{"@", "@ is not allowed", onlyAssignments},
		{"class", "class is not allowed", onlyAssignments},
		{"del", "del is not allowed", onlyAssignments},
		{"global", "global is not allowed", onlyAssignments},
		{"assert", "assert is not allowed", onlyAssignments},
		{"return", "return is not allowed", onlyAssignments},
		{"yield", "yield is not allowed", onlyAssignments},
		{"async", "async is not allowed", onlyAssignments},
		{"call()", "a line that assigns nothing is not allowed", "write NAME = value"},
	}
}

func refusalOf(what string) refusal {
	switch what {
	case "except", "finally":
		what = "try"
	case "nonlocal":
		what = "global"
	case "await":
		what = "async"
	case "->":
		what = "def"
	case "@=":
		what = "@"
	case "**=":
		what = "**"
	}
	for _, r := range refusals() {
		if r.what == what {
			return r
		}
	}
	return refusal{}
}

// refusedStatement reports whether a word begins a refused statement.
func refusedStatement(word string) bool {
	switch word {
	case "with", "try", "except", "finally", "def", "while", "class", "del", "global", "nonlocal", "assert", "return":
		return true
	}
	return false
}

// refusedAnywhere reports whether a word or operator is refused at any place. For "**" the place
// decides (power).
func refusedAnywhere(t token) bool {
	switch {
	case t.kind == name:
		return t.isName("lambda", "yield", "async", "await")
	case t.kind == operator:
		return t.text == ":=" || t.text == "->" || t.text == "@" || t.text == "@=" || t.text == "**="
	}
	return false
}

package config

import (
	"slices"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// guard walks over the parsed file before it runs. It refuses names that are not offered, records
// where each name is assigned, replaces operators that can grow a value by bounded functions, and
// removes the earlier of two equal keys of a dict, as Python does (Starlark would stop).
type guard struct {
	places   sourceMap
	assigned map[string]Position // last place of each global name
	scoped   Position            // last place that assigns to locals()
	err      error               // the first refusal
}

func (g *guard) file(f *syntax.File) error {
	g.stmts(f.Stmts)
	return g.err
}

func isText(e syntax.Expr) bool {
	l, ok := e.(*syntax.Literal)
	return ok && l.Token == syntax.STRING
}

// isOutputOrEnd reports whether a call prints or ends the file: print(...), sys.exit(...),
// exit(...), quit(...), raise.
func isOutputOrEnd(e syntax.Expr) bool {
	call, ok := e.(*syntax.CallExpr)
	if !ok {
		return false
	}
	switch fn := call.Fn.(type) {
	case *syntax.Ident:
		return fn.Name == "print" || fn.Name == "exit" || fn.Name == "quit" || fn.Name == endName
	case *syntax.DotExpr:
		of, ok := fn.X.(*syntax.Ident)
		return ok && of.Name == "sys" && fn.Name.Name == "exit"
	}
	return false
}

func (g *guard) refuse(at syntax.Position, message, hint string) {
	if g.err == nil {
		g.err = &Error{Position: g.at(at), Message: message, Hint: hint}
	}
}

func (g *guard) at(p syntax.Position) Position { return g.places.source(int(p.Line), int(p.Col)) }

func (g *guard) stmts(list []syntax.Stmt) {
	for _, s := range list {
		g.stmt(s)
	}
}

func (g *guard) stmt(s syntax.Stmt) {
	switch s := s.(type) {
	case *syntax.AssignStmt:
		g.assign(s)
	case *syntax.IfStmt:
		s.Cond = g.expr(s.Cond)
		g.stmts(s.True)
		g.stmts(s.False)
	case *syntax.ForStmt:
		g.record(s.Vars)
		g.target(s.Vars)
		s.X = g.expr(s.X)
		g.stmts(s.Body)
	case *syntax.BranchStmt: // pass, break, continue
	default:
		if e, ok := s.(*syntax.ExprStmt); ok && isText(e.X) {
			return // a docstring, or lines that are commented out with quotes
		}
		if e, ok := s.(*syntax.ExprStmt); ok && isOutputOrEnd(e.X) {
			e.X = g.expr(e.X)
			return
		}
		r := refusalOf("call()")
		g.refuse(syntax.Start(s), r.message, r.hint)
	}
}

func (g *guard) assign(s *syntax.AssignStmt) {
	g.record(s.LHS)
	s.RHS = g.expr(s.RHS)
	g.target(s.LHS)
	if s.Op == syntax.EQ {
		return
	}
	target, ok := s.LHS.(*syntax.Ident)
	op := augmented(s.Op)
	if !ok || op == syntax.ILLEGAL {
		g.refuse(s.OpPos, s.Op.String()+" is not allowed here", "write NAME = NAME + value")
		return
	}
	old := &syntax.Ident{NamePos: target.NamePos, Name: target.Name}
	s.Op, s.RHS = syntax.EQ, called(op.String(), s.OpPos, old, s.RHS)
}

func augmented(op syntax.Token) syntax.Token {
	switch op {
	case syntax.PLUS_EQ:
		return syntax.PLUS
	case syntax.STAR_EQ:
		return syntax.STAR
	case syntax.PERCENT_EQ:
		return syntax.PERCENT
	}
	return syntax.ILLEGAL
}

// target guards the expressions inside a target of an assignment.
func (g *guard) target(e syntax.Expr) {
	for _, e := range single(e) {
		if t, ok := e.(*syntax.IndexExpr); ok {
			t.X, t.Y = g.expr(t.X), g.key(t.Y)
		}
	}
}

// single returns the single targets of a target: it opens parentheses, tuples and lists.
func single(targets ...syntax.Expr) (all []syntax.Expr) {
	for _, target := range targets {
		switch t := target.(type) {
		case *syntax.ParenExpr:
			all = append(all, single(t.X)...)
		case *syntax.TupleExpr:
			all = append(all, single(t.List...)...)
		case *syntax.ListExpr:
			all = append(all, single(t.List...)...)
		default:
			all = append(all, t)
		}
	}
	return all
}

// key returns the replacement of an expression whose value is hashed.
func (g *guard) key(e syntax.Expr) syntax.Expr {
	e = g.expr(e)
	if _, ok := e.(*syntax.Literal); ok || e == nil {
		return e
	}
	return called(walkedName, syntax.Start(e), e)
}

// called returns a call of a predeclared function whose name no source can write.
func called(name string, at syntax.Position, args ...syntax.Expr) syntax.Expr {
	return &syntax.CallExpr{
		Fn:     &syntax.Ident{NamePos: at, Name: name},
		Lparen: at, Rparen: at,
		Args: args,
	}
}

// record keeps the places of the names that a target assigns.
func (g *guard) record(target syntax.Expr) {
	for _, e := range single(target) {
		switch t := e.(type) {
		case *syntax.Ident:
			g.assigned[t.Name] = g.at(t.NamePos)
		case *syntax.IndexExpr:
			g.record(t.X)
		case *syntax.CallExpr: // locals()
			g.scoped = g.at(t.Lparen)
		}
	}
}

func (g *guard) exprs(list []syntax.Expr) {
	for i := range list {
		list[i] = g.expr(list[i])
	}
}

// expr returns the replacement of e; nil for nil.
func (g *guard) expr(e syntax.Expr) syntax.Expr {
	switch e := e.(type) {
	case *syntax.Ident:
		if starlark.Universe.Has(e.Name) && !isOffered(e.Name) {
			g.refuse(e.NamePos, e.Name+" is not allowed", writeOut)
		}
	case *syntax.DotExpr:
		e.X = g.expr(e.X)
		if !isAttribute(e.Name.Name) {
			g.refuse(e.Name.NamePos, "."+e.Name.Name+" is not allowed", writeOut)
		}
	case *syntax.BinaryExpr:
		return g.binary(e)
	case *syntax.UnaryExpr:
		e.X = g.expr(e.X)
	case *syntax.ParenExpr:
		e.X = g.expr(e.X)
	case *syntax.CondExpr:
		e.Cond, e.True, e.False = g.expr(e.Cond), g.expr(e.True), g.expr(e.False)
	case *syntax.IndexExpr:
		e.X, e.Y = g.expr(e.X), g.key(e.Y)
	case *syntax.SliceExpr:
		e.X, e.Lo, e.Hi, e.Step = g.expr(e.X), g.expr(e.Lo), g.expr(e.Hi), g.expr(e.Step)
		return called(madeName, e.Lbrack, e)
	case *syntax.CallExpr:
		g.call(e)
		return called(madeName, e.Lparen, e)
	case *syntax.ListExpr:
		g.exprs(e.List)
	case *syntax.TupleExpr:
		g.exprs(e.List)
	case *syntax.DictExpr:
		g.dict(e)
	case *syntax.Comprehension:
		g.comprehension(e)
	}
	return e
}

func (g *guard) binary(e *syntax.BinaryExpr) syntax.Expr {
	e.X, e.Y = g.expr(e.X), g.expr(e.Y)
	switch e.Op {
	case syntax.PLUS, syntax.STAR, syntax.PERCENT, syntax.PIPE, syntax.EQL, syntax.NEQ, syntax.LT, syntax.LE,
		syntax.GT, syntax.GE, syntax.IN, syntax.NOT_IN:
		return called(e.Op.String(), e.OpPos, e.X, e.Y)
	}
	return e
}

// call also turns x.join(...), x.format(...), x.replace(...) and x.get(...) into calls of
// bounded functions that take x first.
func (g *guard) call(e *syntax.CallExpr) {
	e.Fn = g.expr(e.Fn)
	for i, arg := range e.Args {
		if named, ok := arg.(*syntax.BinaryExpr); ok && named.Op == syntax.EQ {
			named.Y = g.expr(named.Y)
			continue
		}
		e.Args[i] = g.expr(arg)
	}
	if dot, ok := e.Fn.(*syntax.DotExpr); ok && slices.Contains([]string{"join", "format", "replace", "get"},
		dot.Name.Name) {
		e.Fn = &syntax.Ident{NamePos: dot.NamePos, Name: "." + dot.Name.Name}
		e.Args = append([]syntax.Expr{dot.X}, e.Args...)
	}
}

func (g *guard) comprehension(e *syntax.Comprehension) {
	if entry, ok := e.Body.(*syntax.DictEntry); ok {
		entry.Key, entry.Value = g.key(entry.Key), g.expr(entry.Value)
	} else {
		e.Body = g.expr(e.Body)
	}
	for _, clause := range e.Clauses {
		switch c := clause.(type) {
		case *syntax.ForClause:
			g.target(c.Vars)
			c.X = g.expr(c.X)
		case *syntax.IfClause:
			c.Cond = g.expr(c.Cond)
		}
	}
}

func (g *guard) dict(e *syntax.DictExpr) {
	last := map[any]int{}
	for i, x := range e.List {
		entry := x.(*syntax.DictEntry)
		if l, ok := entry.Key.(*syntax.Literal); ok && l.Token != syntax.FLOAT {
			last[literalKey{l.Token, l.Value}] = i
		}
		entry.Key, entry.Value = g.key(entry.Key), g.expr(entry.Value)
	}
	kept := e.List[:0]
	for i, x := range e.List {
		if l, ok := x.(*syntax.DictEntry).Key.(*syntax.Literal); ok && l.Token != syntax.FLOAT &&
			last[literalKey{l.Token, l.Value}] != i {
			continue
		}
		kept = append(kept, x)
	}
	e.List = kept
}

// literalKey distinguishes 'a' and b'a'.
type literalKey struct {
	token syntax.Token
	value any
}

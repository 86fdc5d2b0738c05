package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"

	"otpost/internal/mail"
	"otpost/internal/user"
)

// resolvers answers GET /resolver/, of one type or of all.
func (s *server) resolvers(w http.ResponseWriter, r *http.Request) error {
	kind := paramsOf(r).Text("type")
	return s.answerResolvers(w, r, func(d user.Definition) bool { return kind == "" || d.Type == kind })
}

// resolver answers GET /resolver/<resolver>: it, or nothing.
func (s *server) resolver(w http.ResponseWriter, r *http.Request) error {
	name, err := pathOf(r, "resolver")
	if err != nil {
		return err
	}
	return s.answerResolvers(w, r, func(d user.Definition) bool { return d.Name == name })
}

func (s *server) answerResolvers(w http.ResponseWriter, r *http.Request, wanted func(user.Definition) bool) error {
	list, err := s.Users.Resolvers(r.Context())
	if err != nil {
		return err
	}
	all := object{}
	for _, d := range list {
		if wanted(d) {
			shown, censored := parameters(d.Parameters)
			all[d.Name] = object{"censor_keys": censored, "data": shown, "resolvername": d.Name, "type": d.Type}
		}
	}
	return answer(w, r, all)
}

// parameters returns what may be shown of a resolver's parameters, and the names of its secrets; both never nil.
func parameters(given map[string]string) (shown map[string]string, censored []string) {
	shown, censored = make(map[string]string, len(given)), []string{}
	for name, value := range given {
		if user.Secret(name) {
			censored = append(censored, name)
			value = user.Censored
		}
		shown[name] = value
	}
	slices.Sort(censored)
	return shown, censored
}

// resolverDefault answers GET /resolver/<type>/default: no type has parameters with a default yet.
func (s *server) resolverDefault(w http.ResponseWriter, r *http.Request) error {
	return answer(w, r, object{})
}

// saveResolver answers POST /resolver/<resolver> with its id. The original takes a file that is missing or holds no
// user, and so does otpost. The detail then has a warning, where the request names a file. Without one the answer
// is as recorded (resolver.json, "create missing filename").
func (s *server) saveResolver(w http.ResponseWriter, r *http.Request) error {
	name, err := pathOf(r, "resolver")
	if err != nil {
		return err
	}
	callOf(r).entry.Resolver = name
	saved := definition(name, paramsOf(r))
	id, err := s.Users.SaveResolver(r.Context(), saved)
	if err != nil {
		return err
	}
	file := saved.Parameters[usersFile]
	if file == "" {
		return answer(w, r, id)
	}
	warning := s.noUsers(r.Context(), saved)
	if warning == nil {
		return answer(w, r, id)
	}
	s.log.Warn("resolver saved, no user can be read", "resolver", name, "file", file, "why", warning.Message)
	detail := object{}
	warn(w, detail, []*mail.Finding{warning})
	return succeed(w, r, success{value: id, detail: detail})
}

// usersFile is the parameter of a resolver that names its file.
const usersFile = "fileName"

// noUsers returns why no user of a resolver can be read; nil: there are users.
func (s *server) noUsers(ctx context.Context, d user.Definition) *mail.Finding {
	found, err := s.Users.TestResolver(ctx, d)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &mail.Finding{Field: usersFile, Key: "no_file", Message: "there is no such file yet"}
	case err != nil:
		return &mail.Finding{Field: usersFile, Key: "file_no_users", Message: "no user can be read from this file"}
	case found == 0:
		return &mail.Finding{Field: usersFile, Key: "file_empty", Message: "there is no line with a user in this file"}
	}
	return nil
}

// definition reads a resolver: everything but the type is its parameters.
func definition(name string, p Params) user.Definition {
	given := p.All()
	delete(given, "type")
	return user.Definition{Name: name, Type: p.Text("type"), Parameters: given}
}

// deleteResolver answers DELETE /resolver/<resolver> with the id that it had, or -1.
func (s *server) deleteResolver(w http.ResponseWriter, r *http.Request) error {
	name, err := pathOf(r, "resolver")
	if err != nil {
		return err
	}
	callOf(r).entry.Resolver = name
	id, err := s.Users.DeleteResolver(r.Context(), name)
	if err != nil {
		return err
	}
	return answer(w, r, id)
}

// testResolver answers POST /resolver/test: how many users a definition finds, without keeping it.
func (s *server) testResolver(w http.ResponseWriter, r *http.Request) error {
	found, err := s.Users.TestResolver(r.Context(), definition("", paramsOf(r)))
	if err != nil {
		return err
	}
	return succeed(w, r, success{value: found, detail: object{"description": fmt.Sprintf("Found %d users.", found)}})
}

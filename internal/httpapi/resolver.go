package httpapi

import (
	"fmt"
	"net/http"
	"slices"

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

// saveResolver answers POST /resolver/<resolver> with its id.
func (s *server) saveResolver(w http.ResponseWriter, r *http.Request) error {
	name, err := pathOf(r, "resolver")
	if err != nil {
		return err
	}
	callOf(r).entry.Resolver = name
	id, err := s.Users.SaveResolver(r.Context(), definition(name, paramsOf(r)))
	if err != nil {
		return err
	}
	return answer(w, r, id)
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

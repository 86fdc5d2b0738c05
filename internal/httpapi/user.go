package httpapi

import (
	"net/http"

	"otpost/internal/access"
	"otpost/internal/token"
	"otpost/internal/user"
)

func (s *server) userRoutes() []route {
	return []route{
		{method: "GET", path: "/user/{$}", who: session, right: "userlist", handler: s.users},
		{method: "GET", path: "/realm/{$}", who: admins, right: "resolverread", handler: s.realms},
		{method: "GET", path: "/realm/superuser", who: admins, right: "resolverread", handler: s.superuserRealms},
		{method: "POST", path: "/realm/{realm}", who: admins, right: "resolverwrite", handler: s.saveRealm},
		{method: "DELETE", path: "/realm/{realm}", who: admins, right: "resolverdelete", handler: s.deleteRealm},
		{method: "GET", path: "/defaultrealm", who: admins, right: "resolverread", handler: s.defaultRealm},
		{method: "DELETE", path: "/defaultrealm", who: admins, right: "resolverdelete", handler: s.clearDefaultRealm},
		{method: "POST", path: "/defaultrealm/{realm}", who: admins, right: "resolverwrite", handler: s.setDefaultRealm},
		{method: "GET", path: "/resolver/{$}", who: admins, right: "resolverread", handler: s.resolvers},
		{method: "GET", path: "/resolver/{resolver}", who: admins, right: "resolverread", handler: s.resolver},
		{method: "GET", path: "/resolver/{type}/default", who: admins, right: "resolverread", handler: s.resolverDefault},
		{method: "POST", path: "/resolver/{resolver}", who: admins, right: "resolverwrite", handler: s.saveResolver},
		{method: "DELETE", path: "/resolver/{resolver}", who: admins, right: "resolverdelete", handler: s.deleteResolver},
		{method: "POST", path: "/resolver/test", who: admins, right: "resolverwrite", handler: s.testResolver},
	}
}

// searchable are the properties that GET /user/ filters by; other parameters mean nothing to it.
var searchable = []string{ //nolint:gochecknoglobals // a constant table
	"username", "userid", "email", "givenname", "surname", "phone", "mobile", "description",
}

// users answers GET /user/, all that match as the original does. With limit, a parameter of otpost, it answers with
// that many, and with how many match in detail.count. A user finds no other one.
func (s *server) users(w http.ResponseWriter, r *http.Request) error {
	limit, err := paramsOf(r).Int("limit", 0, 1, token.MostPageSize)
	if err != nil {
		return err
	}
	most := limit
	if limit == 0 {
		most = user.All
	}
	found, count, err := s.usersFor(r, most)
	if err != nil {
		return err
	}
	list := make([]object, len(found))
	for i, u := range found {
		list[i] = renderUser(u)
	}
	if limit > 0 {
		return succeed(w, r, success{value: list, detail: object{"count": count}})
	}
	return answer(w, r, list)
}

// usersFor returns the first most users that the caller may see and asks for, and how many there are in all.
func (s *server) usersFor(r *http.Request, most int) ([]user.User, int, error) {
	if id := callOf(r).identity; id.Role == access.User {
		own, err := s.Users.Find(r.Context(), id.Name, id.Realm)
		return []user.User{own}, 1, err
	}
	p, filter := paramsOf(r), user.Filter{}
	for _, property := range searchable {
		if pattern := p.Text(property); pattern != "" {
			filter[property] = pattern
		}
	}
	return s.Users.List(r.Context(), p.Text("realm"), p.Text("resolver"), filter, most)
}

func renderUser(u user.User) object {
	return object{
		"username":    u.Login,
		"userid":      u.UID,
		"realm":       u.Realm,
		"resolver":    u.Resolver,
		"givenname":   u.Givenname,
		"surname":     u.Surname,
		"email":       u.Email,
		"phone":       u.Phone,
		"mobile":      u.Mobile,
		"description": u.Description,
		"editable":    u.Editable,
	}
}

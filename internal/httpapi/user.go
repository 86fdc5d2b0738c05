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
var searchable = []string{"username", "userid", "email", "givenname", "surname", "phone", "mobile", "description"} //nolint:gochecknoglobals // a constant table

// users answers GET /user/, all that match as the original does. With limit, a parameter of otpost, it answers with
// that many, and tells how many match in detail.count. A user sees himself alone.
func (s *server) users(w http.ResponseWriter, r *http.Request) error {
	p := paramsOf(r)
	var found []user.User
	if id := callOf(r).identity; id.Role == access.User {
		own, err := s.Users.Find(r.Context(), id.Name, id.Realm)
		if err != nil {
			return err
		}
		found = []user.User{own}
	} else {
		filter := user.Filter{}
		for _, property := range searchable {
			if pattern := p.Text(property); pattern != "" {
				filter[property] = pattern
			}
		}
		var err error
		if found, err = s.Users.List(r.Context(), p.Text("realm"), p.Text("resolver"), filter); err != nil {
			return err
		}
	}
	limit, err := p.Int("limit", 0, 1, token.MostPageSize)
	if err != nil {
		return err
	}
	count := len(found)
	if limit > 0 {
		found = found[:min(limit, count)]
	}
	list := make([]object, len(found))
	for i, u := range found {
		list[i] = object{"username": u.Login, "userid": u.UID, "realm": u.Realm, "resolver": u.Resolver, "givenname": u.Givenname,
			"surname": u.Surname, "email": u.Email, "phone": u.Phone, "mobile": u.Mobile, "description": u.Description, "editable": u.Editable}
	}
	if limit > 0 {
		return succeed(w, r, success{value: list, detail: object{"count": count}})
	}
	return answer(w, r, list)
}

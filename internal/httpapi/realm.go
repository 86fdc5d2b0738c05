package httpapi

import (
	"net/http"

	"otpost/internal/user"
)

// realms answers GET /realm/.
func (s *server) realms(w http.ResponseWriter, r *http.Request) error {
	return s.answerRealms(w, r, func(user.Realm) bool { return true })
}

// defaultRealm answers GET /defaultrealm: it, or nothing.
func (s *server) defaultRealm(w http.ResponseWriter, r *http.Request) error {
	return s.answerRealms(w, r, func(realm user.Realm) bool { return realm.Default })
}

func (s *server) answerRealms(w http.ResponseWriter, r *http.Request, wanted func(user.Realm) bool) error {
	list, err := s.Users.Realms(r.Context())
	if err != nil {
		return err
	}
	all := object{}
	for _, realm := range list {
		if !wanted(realm) {
			continue
		}
		members := make([]object, len(realm.Resolvers))
		for i, m := range realm.Resolvers {
			members[i] = object{"name": m.Name, "node": "", "priority": m.Priority, "type": m.Type}
		}
		all[realm.Name] = object{"default": realm.Default, "id": realm.ID, "resolver": members}
	}
	return answer(w, r, all)
}

// superuserRealms answers GET /realm/superuser: the realms whose users are administrators.
func (s *server) superuserRealms(w http.ResponseWriter, r *http.Request) error {
	return answer(w, r, s.Sessions.SuperuserRealms())
}

// saveRealm answers POST /realm/<realm>: resolvers is a list, priority.<resolver> a number.
func (s *server) saveRealm(w http.ResponseWriter, r *http.Request) error {
	name, err := pathOf(r, "realm")
	if err != nil {
		return err
	}
	p := paramsOf(r)
	var members []user.Member
	for _, resolver := range p.List("resolvers") {
		m := user.Member{Name: resolver}
		priority, err := optionalInt(p, "priority."+resolver)
		if err != nil {
			return err
		}
		if priority != nil {
			n := int64(*priority)
			m.Priority = &n
		}
		members = append(members, m)
	}
	callOf(r).entry.Realm = name
	added, failed, err := s.Users.SaveRealm(r.Context(), name, members)
	if err != nil {
		return err
	}
	return answer(w, r, object{"added": added, "failed": failed})
}

// deleteRealm answers DELETE /realm/<realm> with the id that it had.
func (s *server) deleteRealm(w http.ResponseWriter, r *http.Request) error {
	return s.realmAct(w, r, func(name string) (int64, error) { return s.Users.DeleteRealm(r.Context(), name) })
}

// setDefaultRealm answers POST /defaultrealm/<realm> with its id.
func (s *server) setDefaultRealm(w http.ResponseWriter, r *http.Request) error {
	return s.realmAct(w, r, func(name string) (int64, error) { return s.Users.SetDefaultRealm(r.Context(), name) })
}

// clearDefaultRealm answers DELETE /defaultrealm with the id of the one that was, or 0.
func (s *server) clearDefaultRealm(w http.ResponseWriter, r *http.Request) error {
	return s.realmAct(w, r, func(string) (int64, error) { return s.Users.ClearDefaultRealm(r.Context()) })
}

func (s *server) realmAct(w http.ResponseWriter, r *http.Request, act func(name string) (int64, error)) error {
	name, err := pathOf(r, "realm")
	if err != nil {
		return err
	}
	callOf(r).entry.Realm = name
	id, err := act(name)
	if err != nil {
		return err
	}
	return answer(w, r, id)
}

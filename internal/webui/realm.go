package webui

import (
	"errors"
	"net/http"
	"net/url"
)

// realmFields are the form of the first realm: a file of users and a name. Everything else about realms is REST's.
func realmFields() []field {
	return []field{
		{Name: "fileName", Text: "realm.file", Type: "text", Required: true, Max: 4096, Hint: "/etc/privacyidea/users.passwd", Complete: "off"},
		{Name: "realm", Text: "realm.name", Type: "text", Required: true, Value: "home", Max: 255, Complete: "off"},
	}
}

// firstRealm makes a resolver of a file and a realm of it, both of the same name, and the realm the one that counts
// when none is named. Nothing is kept of a file that cannot be read.
func (v *visit) firstRealm() error {
	form := realmFields()
	fill(each(form), v.r.PostForm)
	file, name := &form[0], &form[1]
	realms, err := v.realms()
	if err != nil {
		return err
	}
	var resolvers map[string]any
	if err := v.get("/resolver/", nil, &resolvers); err != nil {
		return err
	}
	if len(realms) > 0 { // another administrator was faster
		return v.redirect("/ui/users", "")
	}
	switch {
	case resolvers[name.Value] != nil:
		name.Error = v.text.say("realm.taken", name.Value)
	case dots(name.Value):
		name.Error = v.text.fault(unusable, nil, "")
	}
	if name.Error != "" {
		v.show(http.StatusBadRequest, "users", usersPage{First: form})
		return nil
	}
	resolver := url.Values{"type": {"passwdresolver"}, "fileName": {file.Value}}
	for _, step := range []struct {
		path   string
		params url.Values
		about  *field
	}{
		{"/resolver/test", resolver, file},
		{pathTo("resolver", name.Value), resolver, name},
		{pathTo("realm", name.Value), url.Values{"resolvers": {name.Value}}, name},
		{pathTo("defaultrealm", name.Value), nil, name},
	} {
		_, err := v.call(http.MethodPost, step.path, step.params)
		var e *refusal
		switch {
		case errors.As(err, &e) && (e.Status == http.StatusBadRequest || e.Status == http.StatusNotFound): // an empty name is no address
			step.about.Error = v.ruleOf(*step.about, e)
			v.show(http.StatusBadRequest, "users", usersPage{First: form})
			return nil
		case err != nil:
			return err
		}
	}
	return v.redirect("/ui/users", "realm_made")
}

package httpapi

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strings"

	"otpost/internal/fault"
	"otpost/internal/system"
)

func (s *server) systemRoutes() []route {
	return []route{
		{method: "GET", path: "/system/{$}", who: admins, right: "configread", handler: s.settings},
		{method: "GET", path: "/system/{key}", who: admins, right: "configread", handler: s.setting},
		{method: "DELETE", path: "/system/{key}", who: admins, right: "configdelete", handler: s.deleteSetting},
		{method: "POST", path: "/system/setConfig", who: admins, right: "configwrite", handler: s.setConfig, empty: onRole},
		{method: "POST", path: "/system/setDefault", who: admins, right: "configwrite", handler: s.setDefault},
		{method: "GET", path: "/system/random", who: admins, right: "getrandom", handler: s.random},
		{method: "GET", path: "/system/hsm", who: admins, right: "configread", handler: s.hsm},
		{method: "GET", path: "/system/nodes", who: admins, right: "configread", handler: s.nodes},
	}
}

// settings answers GET /system/: every setting as a text; passwords are censored (the original shows them).
func (s *server) settings(w http.ResponseWriter, r *http.Request) error {
	values, err := s.Settings.Load(r.Context())
	if err != nil {
		return err
	}
	return answer(w, r, values.All())
}

// setting answers GET /system/<key>: the text, or null.
func (s *server) setting(w http.ResponseWriter, r *http.Request) error {
	key, err := pathOf(r, "key")
	if err != nil {
		return err
	}
	values, err := s.Settings.Load(r.Context())
	if err != nil {
		return err
	}
	if text, ok := values.Text(key); ok {
		return answer(w, r, text)
	}
	return answer(w, r, nil)
}

// deleteSetting answers DELETE /system/<key>: whether it was set.
func (s *server) deleteSetting(w http.ResponseWriter, r *http.Request) error {
	key, err := pathOf(r, "key")
	if err != nil {
		return err
	}
	found, err := s.Settings.Delete(r.Context(), key)
	if err != nil {
		return err
	}
	callOf(r).entry.Info = key
	return answer(w, r, found)
}

// setConfig answers POST /system/setConfig: each parameter is a setting; KEY.type and KEY.desc describe KEY when it
// is there (recorded: system.json, "set typed and described").
func (s *server) setConfig(w http.ResponseWriter, r *http.Request) error {
	p := paramsOf(r)
	var settings []system.Setting
	var keys []string
	for key, text := range p.All() {
		if base, ok := describes(key); ok && p.Has(base) {
			continue
		}
		if key == system.OverrideAuthorizationClient {
			if _, err := parseProxies(text); err != nil {
				return err
			}
		}
		keys = append(keys, key)
		settings = append(settings, system.Setting{Key: key, Value: text, Type: p.Text(key + ".type"), Description: p.Text(key + ".desc")})
	}
	callOf(r).entry.Info = strings.Join(keys, ", ")
	return s.set(w, r, settings)
}

// describes returns the key that KEY.type or KEY.desc is about.
func describes(key string) (string, bool) {
	if base, ok := strings.CutSuffix(key, ".type"); ok {
		return base, true
	}
	return strings.CutSuffix(key, ".desc")
}

// defaults are what POST /system/setDefault takes, in the order of its recorded complaint.
var defaults = []string{system.DefaultMaxFailCount, system.DefaultSyncWindow, system.DefaultCountWindow, //nolint:gochecknoglobals // a constant table
	system.DefaultOTPLen, system.DefaultResetFailCount}

// setDefault answers POST /system/setDefault.
func (s *server) setDefault(w http.ResponseWriter, r *http.Request) error {
	p := paramsOf(r)
	var settings []system.Setting
	for _, key := range defaults {
		if p.Has(key) {
			settings = append(settings, system.Setting{Key: key, Value: p.Text(key)})
		}
	}
	if len(settings) == 0 {
		return fault.Newf(fault.Usage, "usage", "ERR77: Usage: parameters are: %s", strings.Join(defaults, ", "))
	}
	return s.set(w, r, settings)
}

func (s *server) set(w http.ResponseWriter, r *http.Request, settings []system.Setting) error {
	done := map[string]string{}
	if len(settings) > 0 {
		var err error
		if done, err = s.Settings.Set(r.Context(), settings...); err != nil {
			return err
		}
	}
	return answer(w, r, done)
}

// random answers GET /system/random: len bytes (20) in hex, or in Base64 with encode=b64.
func (s *server) random(w http.ResponseWriter, r *http.Request) error {
	p := paramsOf(r)
	size, err := p.Int("len", 20, 1, 4096)
	if err != nil {
		return err
	}
	bytes := make([]byte, size)
	rand.Read(bytes) //nolint:errcheck // never fails
	if p.Text("encode") == "b64" {
		return answer(w, r, base64.StdEncoding.EncodeToString(bytes))
	}
	return answer(w, r, hex.EncodeToString(bytes))
}

// hsm answers GET /system/hsm: the keys are there, or the server would not have started.
func (s *server) hsm(w http.ResponseWriter, r *http.Request) error {
	return answer(w, r, object{"is_ready": true})
}

// nodes answers GET /system/nodes: this server.
func (s *server) nodes(w http.ResponseWriter, r *http.Request) error {
	return answer(w, r, []object{{"name": s.options.Node, "uuid": s.options.NodeID}})
}

package app

import (
	"fmt"
	"net/http"
	"strings"

	"otpost/internal/httpapi"
)

// freeOf refuses a base path that begins like a path of this server: a request would be ambiguous.
func freeOf(base string) error {
	first, _, _ := strings.Cut(strings.TrimPrefix(base, "/"), "/")
	if first == "ui" || base != "" && httpapi.Owns(first) {
		return fmt.Errorf("base path %s: /%s is a path of otpost itself, choose another, such as /pi", base, first)
	}
	return nil
}

// below returns h for clients that see it below a base path, such as /pi behind a proxy of several
// programs. Requests have the path, or not if the proxy removes it; h never sees it. Redirects of h
// get the path. With an empty base it returns h.
func below(base string, h http.Handler) http.Handler {
	if base == "" {
		return h
	}
	cut := http.StripPrefix(base, h)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out := &relocated{ResponseWriter: w, base: base}
		switch {
		case r.URL.Path == base:
			to := base + "/"
			if r.URL.RawQuery != "" {
				to += "?" + r.URL.RawQuery
			}
			http.Redirect(w, r, to, http.StatusPermanentRedirect)
		case strings.HasPrefix(r.URL.Path, base+"/"):
			cut.ServeHTTP(out, r)
		default:
			h.ServeHTTP(out, r)
		}
	})
}

// relocated adds the base path to the address of a redirect.
type relocated struct {
	http.ResponseWriter
	base string
}

// WriteHeader implements http.ResponseWriter.
func (w *relocated) WriteHeader(status int) {
	if to := w.Header().Get("Location"); strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "//") {
		w.Header().Set("Location", w.base+to)
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap returns the wrapped writer, for http.ResponseController.
func (w *relocated) Unwrap() http.ResponseWriter { return w.ResponseWriter }

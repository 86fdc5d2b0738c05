package webui

import (
	"compress/gzip"
	"net/http"
	"strings"
)

// leastPacked is the size, in bytes, below which a page is not compressed: it travels in one packet anyway.
const leastPacked = 1400

// write sends a page, compressed except in answers to POST. A list of two hundred servers is 100 KB, and a tenth of
// that compressed. An answer to POST may hold a typed password beside text of another author, and the size of both
// compressed together would reveal the password (BREACH). Other pages hold no secret, and the session's cookie is
// SameSite=Strict, so that no foreign site can request them. Static files, which are small and cached by the
// browser, and event streams are not compressed.
func (v *visit) write(status int, page []byte) {
	h := v.w.Header()
	h.Add("Vary", "Accept-Encoding")
	if v.r.Method != http.MethodGet || len(page) < leastPacked || !takesGzip(v.r.Header) {
		v.w.WriteHeader(status)
		v.w.Write(page) //nolint:errcheck // a browser that is gone does not matter any more
		return
	}
	h.Set("Content-Encoding", "gzip")
	v.w.WriteHeader(status)
	packer, ok := v.site.packers.Get().(*gzip.Writer)
	if !ok {
		packer = gzip.NewWriter(v.w)
	}
	packer.Reset(v.w)
	packer.Write(page) //nolint:errcheck // as above
	packer.Close()     //nolint:errcheck // as above
	v.site.packers.Put(packer)
}

// takesGzip reports whether a browser names gzip (RFC 9110 section 12.5.3). Only a weight of 0 takes it back.
func takesGzip(h http.Header) bool {
	for one := range strings.SplitSeq(strings.Join(h.Values("Accept-Encoding"), ","), ",") {
		coding, weight, _ := strings.Cut(one, ";")
		if strings.EqualFold(strings.TrimSpace(coding), "gzip") {
			q := strings.TrimRight(strings.ReplaceAll(weight, " ", ""), "0.")
			return q != "q="
		}
	}
	return false
}

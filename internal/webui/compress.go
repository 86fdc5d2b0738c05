package webui

import (
	"compress/gzip"
	"net/http"
	"strings"
)

// leastPacked is the size, in bytes, below which a page is not compressed: it travels in one packet anyway.
const leastPacked = 1400

// write sends a page. A list of two hundred servers is 100 KB, and a tenth of that compressed. Answers to POST are not: a page that
// came back with what was typed may hold a password beside what somebody else wrote, and how well both compress together would tell
// of it (BREACH). The others hold no secret, and the cookie of a session is SameSite=Strict: no foreign site can ask for them. Nor
// are static files, which are small and kept by the browser, and event streams.
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

package redisq

import (
	"encoding/binary"
	"fmt"
	"math"
)

// fields are the one argument of a script: names and values by turns. A value is nil, a bool, an
// int, an int64, a string (any bytes), a []string, fields, or []fields.
type fields []any

// pack appends the fields as a map of MessagePack, which Redis' cmsgpack reads into a table.
func (f fields) pack(b []byte) []byte {
	b = packHead(b, 0x80, 0xde, len(f)/2)
	for _, v := range f {
		b = packValue(b, v)
	}
	return b
}

func packValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, 0xc0)
	case bool:
		if v {
			return append(b, 0xc3)
		}
		return append(b, 0xc2)
	case int:
		return packInt(b, int64(v))
	case int64:
		return packInt(b, v)
	case string:
		return packString(b, v)
	case []string:
		b = packHead(b, 0x90, 0xdc, len(v))
		for _, s := range v {
			b = packString(b, s)
		}
		return b
	case fields:
		return v.pack(b)
	case []fields:
		b = packHead(b, 0x90, 0xdc, len(v))
		for _, f := range v {
			b = f.pack(b)
		}
		return b
	}
	panic(fmt.Sprintf("redisq: a script's argument of type %T", v))
}

// packHead appends the length of a map or list: short forms up to 15, then 16 and 32 bits.
func packHead(b []byte, short, long byte, n int) []byte {
	switch {
	case n < 16:
		return append(b, short|byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, long), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(b, long+1), uint32(n)) //nolint:gosec // Redis takes no argument so long
}

func packInt(b []byte, n int64) []byte {
	if n >= 0 && n < 128 {
		return append(b, byte(n))
	}
	return binary.BigEndian.AppendUint64(append(b, 0xd3), uint64(n)) //nolint:gosec // two's complement is the format
}

func packString(b []byte, s string) []byte {
	switch n := len(s); {
	case n < 32:
		b = append(b, 0xa0|byte(n))
	case n <= math.MaxUint8:
		b = append(b, 0xd9, byte(n))
	case n <= math.MaxUint16:
		b = binary.BigEndian.AppendUint16(append(b, 0xda), uint16(n))
	default:
		b = binary.BigEndian.AppendUint32(append(b, 0xdb), uint32(n)) //nolint:gosec // as above
	}
	return append(b, s...)
}

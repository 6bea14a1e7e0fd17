package identity

import (
	"errors"
	"strings"
)

// Bech32 (BIP 173) in the one form that age identities have: upper case, no
// limit of length. The checksum is what tells a mistyped or damaged identity
// from another valid one, so it is checked here and not left to chance.

const (
	bech32Digits   = "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L"
	checksumDigits = 6
)

var (
	errPrefix   = errors.New("it does not begin as an age identity does")
	errDigit    = errors.New("it has a character that no age identity has")
	errChecksum = errors.New("its checksum is wrong")
	errPadding  = errors.New("its last digits are not canonical")
)

// bech32Encode writes data after prefix, which is upper case and without the
// separator "1".
func bech32Encode(prefix string, data []byte) string {
	values := toDigits(data)
	values = append(values, checksum(prefix, values)...)
	var text strings.Builder
	text.WriteString(prefix + "1")
	for _, v := range values {
		text.WriteByte(bech32Digits[v])
	}
	return text.String()
}

// bech32Decode reads what bech32Encode writes, and nothing else: for every
// text that it accepts, encoding the result gives that text.
func bech32Decode(prefix, text string) ([]byte, error) {
	digits, ok := strings.CutPrefix(text, prefix+"1")
	if !ok || len(digits) < checksumDigits {
		return nil, errPrefix
	}
	values := make([]byte, len(digits))
	for i := range values {
		v := strings.IndexByte(bech32Digits, digits[i])
		if v < 0 {
			return nil, errDigit
		}
		values[i] = byte(v)
	}
	if polymod(prefix, values) != 1 {
		return nil, errChecksum
	}
	return fromDigits(values[:len(values)-checksumDigits])
}

// toDigits splits data into values of 5 bits, the last filled up with zeros.
func toDigits(data []byte) []byte {
	var values []byte
	acc, bits := uint(0), 0
	for _, b := range data {
		acc, bits = acc<<8|uint(b), bits+8
		for bits >= 5 {
			bits -= 5
			values = append(values, byte(acc>>bits)&31)
		}
	}
	if bits > 0 {
		values = append(values, byte(acc<<(5-bits))&31)
	}
	return values
}

// fromDigits joins values of 5 bits. Fewer than 5 bits may be left over, and
// they must be zero.
func fromDigits(values []byte) ([]byte, error) {
	data := make([]byte, 0, len(values)*5/8)
	acc, bits := uint(0), 0
	for _, v := range values {
		acc, bits = acc<<5|uint(v), bits+5
		if bits >= 8 {
			bits -= 8
			data = append(data, byte(acc>>bits))
			acc &= 1<<bits - 1
		}
	}
	if bits >= 5 || acc != 0 {
		return nil, errPadding
	}
	return data, nil
}

func checksum(prefix string, values []byte) []byte {
	padded := append(append([]byte(nil), values...), make([]byte, checksumDigits)...)
	sum := polymod(prefix, padded) ^ 1
	digits := make([]byte, checksumDigits)
	for i := range digits {
		digits[i] = byte(sum>>(5*(checksumDigits-1-i))) & 31
	}
	return digits
}

// polymod is the checksum of BIP 173 over the lower-case prefix and values; 1
// if values end in the right checksum.
func polymod(prefix string, values []byte) uint32 {
	prefix = strings.ToLower(prefix)
	sum := uint32(1)
	for i := range len(prefix) {
		sum = step(sum, prefix[i]>>5)
	}
	sum = step(sum, 0)
	for i := range len(prefix) {
		sum = step(sum, prefix[i]&31)
	}
	for _, v := range values {
		sum = step(sum, v)
	}
	return sum
}

func step(sum uint32, value byte) uint32 {
	top := sum >> 25
	sum = (sum&0x1ffffff)<<5 ^ uint32(value)
	for i, g := range [5]uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3} {
		if top>>i&1 == 1 {
			sum ^= g
		}
	}
	return sum
}

//go:build unix && !darwin

package keychain

func open(o Options) Backend { return newSecretService(o) }

package certs

import (
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

const host = "modelkiln-webhook.modelkiln-system.svc"

func TestNewCertificate(t *testing.T) {
	for _, host := range []string{host, "127.0.0.1"} {
		t.Run(host, func(t *testing.T) {
			data, err := newCertificate(host)
			require.NoError(t, err)

			got, err := readCertificate(data, host, time.Now())
			require.NoError(t, err)
			assert.WithinDuration(t, time.Now().Add(validity-renewBefore), got.renewal, 2*time.Hour)
			assert.Contains(t, string(data[corev1.TLSCertKey]), string(got.ca), "the CA is in the chain")
		})
	}
}

func TestReadCertificate(t *testing.T) {
	data, err := newCertificate(host)
	require.NoError(t, err)
	other, err := newCertificate(host)
	require.NoError(t, err)
	with := func(key string, value []byte) map[string][]byte {
		changed := maps.Clone(data)
		changed[key] = value
		return changed
	}
	now := time.Now()
	for name, tt := range map[string]struct {
		data map[string][]byte
		host string
		now  time.Time
		want string
	}{
		"rejects an empty Secret":                       {nil, host, now, "the Secret has no certificate"},
		"rejects a certificate that is not PEM":         {with(corev1.TLSCertKey, []byte("nonsense")), host, now, "failed to find any PEM data"},
		"rejects a missing key":                         {with(corev1.TLSPrivateKeyKey, nil), host, now, "failed to find any PEM data"},
		"rejects the key of another certificate":        {with(corev1.TLSPrivateKeyKey, other[corev1.TLSPrivateKeyKey]), host, now, "private key does not match"},
		"rejects more than two certificates":            {with(corev1.TLSCertKey, append(data[corev1.TLSCertKey], other[corev1.TLSCertKey]...)), host, now, "expected 2 certificates, the server's and its CA's, found 4"},
		"rejects a certificate of a previous host":      {data, "modelkiln-webhook.elsewhere.svc", now, "not modelkiln-webhook.elsewhere.svc"},
		"rejects a certificate that is not yet valid":   {data, host, now.Add(-2 * time.Hour), "not yet valid"},
		"rejects a certificate that is due for renewal": {data, host, now.Add(validity - renewBefore), "expires at"},
		"rejects an expired certificate":                {data, host, now.Add(validity), "has expired"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readCertificate(tt.data, tt.host, tt.now)
			assert.ErrorContains(t, err, tt.want)
		})
	}
	t.Run("keeps a certificate until its renewal", func(t *testing.T) {
		_, err := readCertificate(data, host, now.Add(validity-renewBefore-2*time.Hour))
		assert.NoError(t, err)
	})
}

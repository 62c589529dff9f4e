package webhook

import (
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

const host = "modelkiln-webhook.modelkiln-system.svc"

func TestACertificateThatIsMadeIsGood(t *testing.T) {
	for _, host := range []string{host, "127.0.0.1"} {
		data, err := newCertificate(host)
		require.NoError(t, err)

		got, err := readCertificate(data, host, time.Now())
		require.NoError(t, err)
		assert.WithinDuration(t, time.Now().Add(validity-margin), got.renewal, 2*time.Hour)
		assert.Contains(t, string(data[corev1.TLSCertKey]), string(got.authority), "the authority is in the chain")
	}
}

func TestACertificateThatIsNotGoodIsReplaced(t *testing.T) {
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
		"the Secret as it is installed": {nil, host, now, "there is none yet"},
		"nonsense":                      {with(corev1.TLSCertKey, []byte("nonsense")), host, now, "failed to find any PEM data"},
		"no key":                        {with(corev1.TLSPrivateKeyKey, nil), host, now, "failed to find any PEM data"},
		"the key of another one":        {with(corev1.TLSPrivateKeyKey, other[corev1.TLSPrivateKeyKey]), host, now, "private key does not match"},
		"more certificates than two":    {with(corev1.TLSCertKey, append(data[corev1.TLSCertKey], other[corev1.TLSCertKey]...)), host, now, "4 certificates instead of"},
		"another host, since the operator has moved": {data, "modelkiln-webhook.elsewhere.svc", now, "not modelkiln-webhook.elsewhere.svc"},
		"not valid yet": {data, host, now.Add(-2 * time.Hour), "not yet valid"},
		"near its end":  {data, host, now.Add(validity - margin), "it ends at"},
		"over":          {data, host, now.Add(validity), "has expired"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readCertificate(tt.data, tt.host, tt.now)
			assert.ErrorContains(t, err, tt.want)
		})
	}
	_, err = readCertificate(data, host, now.Add(validity-margin-2*time.Hour))
	assert.NoError(t, err, "before that it is kept")
}

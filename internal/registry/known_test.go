package registry

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestMaxLayerSize(t *testing.T) {
	for host, want := range map[string]int64{
		"ghcr.io": 10_000_000_000,
		"123456789012.dkr.ecr.eu-central-1.amazonaws.com":  52_000 << 20,
		"123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn": 52_000 << 20,
		"public.ecr.aws":                       10_000 << 20,
		"models.azurecr.io":                    200 << 30,
		"swr.ap-southeast-1.myhuaweicloud.com": 10_000_000_000,
		"registry.example.com":                 0,
		"ghcr.io.example.com":                  0,
		"ghcr.io:443":                          0,
	} {
		assert.Equal(t, want, MaxLayerSize(host), host)
	}
}

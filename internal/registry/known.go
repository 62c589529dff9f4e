package registry

import "path"

// knownLimit is the largest layer that a hosted registry accepts.
type knownLimit struct {
	// host is a pattern for path.Match, in which * matches one label and more.
	host  string
	bytes int64
}

const (
	megabyte = 1000 * 1000
	gibibyte = 1 << 30
)

// knownLimits are documented by the registries. Others accept what their storage and
// the proxies in front of them accept.
var knownLimits = []knownLimit{
	// https://docs.github.com/en/packages/working-with-a-github-packages-registry/working-with-the-container-registry
	{"ghcr.io", 10_000 * megabyte},
	// https://docs.aws.amazon.com/AmazonECR/latest/userguide/service-quotas.html
	{"*.dkr.ecr.*.amazonaws.com", 52_000 << 20},
	{"*.dkr.ecr.*.amazonaws.com.cn", 52_000 << 20},
	// https://docs.aws.amazon.com/AmazonECR/latest/public/public-service-quotas.html
	{"public.ecr.aws", 10_000 << 20},
	// https://learn.microsoft.com/en-us/azure/container-registry/container-registry-skus
	{"*.azurecr.io", 200 * gibibyte},
	// https://support.huaweicloud.com/intl/en-us/productdesc-swr/swr_03_0007.html
	{"swr.*.myhuaweicloud.com", 10_000 * megabyte},
}

// MaxLayerSize returns the size in bytes of the largest layer that a registry is known
// to accept, or 0 if no limit is known.
func MaxLayerSize(host string) int64 {
	for _, known := range knownLimits {
		// The patterns are valid.
		if matched, _ := path.Match(known.host, host); matched {
			return known.bytes
		}
	}
	return 0
}

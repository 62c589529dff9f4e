package layer

// BuiltLayer is one layer as an engine built it.
type BuiltLayer struct {
	// DiffID is the digest of the uncompressed tar archive, "sha256:…".
	DiffID string `json:"diffID"`
	// Files counts the planned files that the archive holds, each with the
	// planned size.
	Files int64 `json:"files"`
	// Bytes is the sum of those files' sizes.
	Bytes int64 `json:"bytes"`
}

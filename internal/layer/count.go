package layer

// Count returns the number of regular files among entries, and the sum of their
// sizes in bytes.
func Count(entries []Entry) (files, bytes int64) {
	for _, e := range entries {
		if e.Type == File {
			files++
			bytes += e.Size
		}
	}
	return files, bytes
}

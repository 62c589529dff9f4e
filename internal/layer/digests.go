package layer

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
)

// ArchiveHash is the SHA-256 of an archive, and of each file in it. The bytes of the
// archive are written to it in order. Its methods are those of the archive's SHA-256.
type ArchiveHash struct {
	whole   hash.Cloner
	archive Archive
	// next is the entry to which the next byte belongs, at an offset in the archive.
	next   int
	offset int64
	// file is the SHA-256 of that entry's content, and files are those of all entries
	// before it, "" for what is not a file.
	file  hash.Cloner
	files []string
}

var _ hash.Cloner = (*ArchiveHash)(nil)

// NewHash returns the hash of an archive of which nothing was written yet.
func (a Archive) NewHash() *ArchiveHash {
	return &ArchiveHash{whole: newSHA256(), file: newSHA256(), archive: a}
}

// newSHA256 returns a SHA-256, whose type can be cloned since Go 1.25.
func newSHA256() hash.Cloner { return sha256.New().(hash.Cloner) }

// parallelSize is the number of bytes from which the archive and the file in it are
// hashed at the same time. A goroutine for fewer takes longer than it saves.
const parallelSize = 16 << 10

// Write adds bytes. It never returns an error.
func (h *ArchiveHash) Write(p []byte) (int, error) {
	if len(p) < parallelSize {
		_, _ = h.whole.Write(p)
		h.writeFiles(p)
		return len(p), nil
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = h.whole.Write(p)
	}()
	h.writeFiles(p)
	<-done
	return len(p), nil
}

// writeFiles adds bytes to the hashes of the files that they belong to.
func (h *ArchiveHash) writeFiles(p []byte) {
	for len(p) > 0 && h.next < len(h.archive.entries) {
		e, end := h.archive.entries[h.next], h.archive.ends[h.next]
		contentEnd := end - padding(e.Size)
		piece := p[:min(int64(len(p)), end-h.offset)]
		from := min(max(contentEnd-e.Size-h.offset, 0), int64(len(piece)))
		to := min(max(contentEnd-h.offset, from), int64(len(piece)))
		_, _ = h.file.Write(piece[from:to])
		h.offset += int64(len(piece))
		p = p[len(piece):]
		if h.offset == end {
			h.endEntry(e)
		}
	}
}

func (h *ArchiveHash) endEntry(e Entry) {
	sum := ""
	if e.Type == File {
		sum = hex.EncodeToString(h.file.Sum(nil))
		h.file.Reset()
	}
	h.files = append(h.files, sum)
	h.next++
}

// Files returns the SHA-256 of the files that were written, in hexadecimal, by path.
func (h *ArchiveHash) Files() map[string]string {
	files := make(map[string]string, len(h.files))
	for i, sum := range h.files {
		// A whiteout has the form of a file and is none of the model's.
		if path := h.archive.entries[i].Path; sum != "" && !IsWhiteout(path) {
			files[path] = sum
		}
	}
	return files
}

// DiffID returns the digest of the archive, "sha256:…".
func (h *ArchiveHash) DiffID() string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }

// Sum appends the SHA-256 of the archive to b.
func (h *ArchiveHash) Sum(b []byte) []byte { return h.whole.Sum(b) }

// Size returns the size of a SHA-256 in bytes.
func (h *ArchiveHash) Size() int { return h.whole.Size() }

// BlockSize returns the block size of SHA-256 in bytes.
func (h *ArchiveHash) BlockSize() int { return h.whole.BlockSize() }

// Reset forgets what was written.
func (h *ArchiveHash) Reset() { *h = *h.archive.NewHash() }

// Clone returns a copy, to which other bytes can be written.
func (h *ArchiveHash) Clone() (hash.Cloner, error) {
	whole, err := h.whole.Clone()
	if err != nil {
		return nil, fmt.Errorf("copy a digest: %w", err)
	}
	file, err := h.file.Clone()
	if err != nil {
		return nil, fmt.Errorf("copy a digest: %w", err)
	}
	clone := *h
	clone.whole, clone.file = whole, file
	// The next entry must not be appended to a slice that both share.
	clone.files = h.files[:len(h.files):len(h.files)]
	return &clone, nil
}

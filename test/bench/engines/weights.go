package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// writeModel writes a model with files of random weights.
func writeModel(dir string, files int, size, seed int64) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write a model: %w", err)
	}
	for i := range files {
		if err := writeWeights(dir, i, size/int64(files), seed); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "config.json"), []byte("{}\n"), 0o644)
}

// writeWeights writes a file of normally distributed bfloat16 numbers, like
// trained weights. gzip compresses them by about a fifth.
func writeWeights(dir string, number int, size, seed int64) error {
	file, err := os.Create(filepath.Join(dir, fmt.Sprintf("weights-%d.bin", number)))
	if err != nil {
		return fmt.Errorf("write a model: %w", err)
	}
	defer func() { _ = file.Close() }()
	random := rand.New(rand.NewPCG(uint64(seed), uint64(number)))
	var values [1 << 16]uint16
	for i := range values {
		values[i] = uint16(math.Float32bits(float32(random.NormFloat64()*0.02)) >> 16)
	}
	out := bufio.NewWriterSize(file, 1<<20)
	var eight [8]byte
	for range size / 8 {
		four := random.Uint64()
		for i := range 4 {
			binary.LittleEndian.PutUint16(eight[2*i:], values[uint16(four>>(16*i))])
		}
		if _, err := out.Write(eight[:]); err != nil {
			return fmt.Errorf("write a model: %w", err)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write a model: %w", err)
	}
	return file.Close()
}

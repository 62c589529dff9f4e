package spirals

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// tensor is a named weight matrix.
type tensor struct {
	name   string
	shape  []int
	values []float64
}

func (n *Network) tensors() []tensor {
	return []tensor{
		{"layer1.weight", []int{hidden, 2}, n.W1},
		{"layer1.bias", []int{hidden}, n.B1},
		{"layer2.weight", []int{hidden, hidden}, n.W2},
		{"layer2.bias", []int{hidden}, n.B2},
		{"output.weight", []int{1, hidden}, n.W3},
		{"output.bias", []int{1}, n.B3},
	}
}

// TrainInto trains a network and writes to dir what a training job writes: the
// weights in the safetensors format and in NumPy's .npy format, checkpoints, a
// configuration, a log and a model card. It calls progress during the training.
func TrainInto(dir string, progress func(Progress)) error {
	log := strings.Builder{}
	log.WriteString("epoch,loss,accuracy\n")
	var failure error
	network := Train(2000, 42, func(p Progress, n *Network) {
		progress(p)
		fmt.Fprintf(&log, "%d,%.6f,%.4f\n", p.Epoch, p.Loss, p.Accuracy)
		if failure == nil && p.Epoch%1000 == 0 {
			failure = write(dir, fmt.Sprintf("checkpoints/epoch-%04d.safetensors", p.Epoch), n.safetensors())
		}
	})
	if failure != nil {
		return failure
	}
	files := map[string][]byte{
		weightsFile:        network.safetensors(),
		"config.json":      []byte(configuration),
		"training-log.csv": []byte(log.String()),
		"README.md":        []byte(card),
	}
	for _, t := range network.tensors() {
		files["numpy/"+t.name+".npy"] = npy(t)
	}
	for name, content := range files {
		if err := write(dir, name, content); err != nil {
			return err
		}
	}
	return nil
}

const configuration = `{
  "architecture": "multilayer perceptron",
  "inputs": 2,
  "hidden": [32, 32],
  "activation": "tanh",
  "outputs": 1,
  "output_activation": "logistic"
}
`

const card = `# Two spirals

Classifies points of two interleaved spirals. Input: x and y. Output: the probability of the second spiral.
`

func write(dir, name string, content []byte) error {
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("export model: %w", err)
	}
	if err := os.WriteFile(file, content, 0o644); err != nil {
		return fmt.Errorf("export model: %w", err)
	}
	return nil
}

// safetensors returns the network in the safetensors format: the length of the
// header, a JSON header, and the values in little-endian order
// (https://github.com/huggingface/safetensors#format).
func (n *Network) safetensors() []byte {
	type entry struct {
		Type    string `json:"dtype"`
		Shape   []int  `json:"shape"`
		Offsets [2]int `json:"data_offsets"`
	}
	header := map[string]entry{}
	var values bytes.Buffer
	for _, t := range n.tensors() {
		begin := values.Len()
		values.Write(float32s(t.values))
		header[t.name] = entry{Type: "F32", Shape: t.shape, Offsets: [2]int{begin, values.Len()}}
	}
	text, err := json.Marshal(header)
	if err != nil {
		panic(err) // Strings and integers always marshal.
	}
	length := binary.LittleEndian.AppendUint64(nil, uint64(len(text)))
	return bytes.Join([][]byte{length, text, values.Bytes()}, nil)
}

// npy returns a tensor in version 1.0 of NumPy's format: a magic string, a
// header that is padded to align the values to 64 bytes, and the values.
func npy(t tensor) []byte {
	var shape strings.Builder
	for _, n := range t.shape {
		fmt.Fprintf(&shape, "%d,", n)
	}
	header := fmt.Sprintf("{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }", shape.String())
	const preamble = 10
	padding := 64 - (preamble+len(header)+1)%64
	header += strings.Repeat(" ", padding) + "\n"

	out := []byte("\x93NUMPY\x01\x00")
	out = binary.LittleEndian.AppendUint16(out, uint16(len(header)))
	out = append(out, header...)
	return append(out, float32s(t.values)...)
}

func float32s(values []float64) []byte {
	out := make([]byte, 0, 4*len(values))
	for _, v := range values {
		out, _ = binary.Append(out, binary.LittleEndian, float32(v))
	}
	return out
}

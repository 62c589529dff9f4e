package spirals

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
)

// weightsFile is where in a model's folder its weights are.
const weightsFile = "model.safetensors"

// Load reads a network that TrainInto has written.
func Load(dir string) (*Network, error) {
	content, err := os.ReadFile(filepath.Join(dir, weightsFile))
	if err != nil {
		return nil, fmt.Errorf("load model: %w", err)
	}
	n := &Network{}
	n.resize()
	if err := n.read(content); err != nil {
		return nil, fmt.Errorf("load model: %s: %w", weightsFile, err)
	}
	return n, nil
}

// read fills the network from what safetensors gives.
func (n *Network) read(content []byte) error {
	if len(content) < 8 {
		return errors.New("it is cut off")
	}
	length := binary.LittleEndian.Uint64(content)
	content = content[8:]
	if length > uint64(len(content)) {
		return errors.New("it is cut off")
	}
	var header map[string]struct {
		Offsets [2]int `json:"data_offsets"`
	}
	if err := json.Unmarshal(content[:length], &header); err != nil {
		return fmt.Errorf("read its header: %w", err)
	}
	data := content[length:]
	for _, t := range n.tensors() {
		begin, end := header[t.name].Offsets[0], header[t.name].Offsets[1]
		if begin < 0 || end > len(data) || end-begin != 4*len(t.values) {
			return fmt.Errorf("it does not hold all of %s", t.name)
		}
		values := make([]float32, len(t.values))
		if err := binary.Read(bytes.NewReader(data[begin:end]), binary.LittleEndian, values); err != nil {
			return fmt.Errorf("read %s: %w", t.name, err)
		}
		for i, value := range values {
			t.values[i] = float64(value)
		}
	}
	return nil
}

// Point is a place in the plane.
type Point struct {
	X float64 `json:"x"`
	Y float64 `json:"y"`
}

// Answer says which spiral a point is on.
type Answer struct {
	// Spiral is 0 or 1.
	Spiral int `json:"spiral"`
	// Probability that it is this one, from 0.5 to 1.
	Probability float64 `json:"probability"`
}

// Classify tells which spiral a point is on.
func (n *Network) Classify(p Point) Answer {
	_, _, output := n.forwards(p.X, p.Y)
	if output > 0.5 {
		return Answer{Spiral: 1, Probability: output}
	}
	return Answer{Spiral: 0, Probability: 1 - output}
}

// Server answers a Point that is posted to / with an Answer, both as JSON.
func Server(n *Network) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{$}", func(w http.ResponseWriter, r *http.Request) {
		var p Point
		decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1024))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&p); err != nil {
			http.Error(w, `send a point, such as {"x": 0.1, "y": 0.2}: `+err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(n.Classify(p))
	})
	return mux
}

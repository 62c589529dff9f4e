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

// weightsFile is the name of the file of the weights in a model directory.
const weightsFile = "model.safetensors"

// Load reads a network that TrainInto wrote.
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

// read sets the network's weights from content in the safetensors format.
func (n *Network) read(content []byte) error {
	if len(content) < 8 {
		return errors.New("the file is truncated")
	}
	length := binary.LittleEndian.Uint64(content)
	content = content[8:]
	if length > uint64(len(content)) {
		return errors.New("the file is truncated")
	}
	var header map[string]struct {
		Offsets [2]int `json:"data_offsets"`
	}
	if err := json.Unmarshal(content[:length], &header); err != nil {
		return fmt.Errorf("parse the header: %w", err)
	}
	data := content[length:]
	for _, t := range n.tensors() {
		begin, end := header[t.name].Offsets[0], header[t.name].Offsets[1]
		if begin < 0 || end > len(data) || end-begin != 4*len(t.values) {
			return fmt.Errorf("the values of %s are incomplete", t.name)
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

// Point is a point in the plane.
type Point struct {
	X float64 `json:"x"`
	Y float64 `json:"y"`
}

// Prediction is the spiral that a point is on.
type Prediction struct {
	// Spiral is 0 or 1.
	Spiral int `json:"spiral"`
	// Probability is the probability of this spiral, from 0.5 to 1.
	Probability float64 `json:"probability"`
}

// Predict returns the spiral that a point is on.
func (n *Network) Predict(p Point) Prediction {
	_, _, output := n.forward(p.X, p.Y)
	if output > 0.5 {
		return Prediction{Spiral: 1, Probability: output}
	}
	return Prediction{Spiral: 0, Probability: 1 - output}
}

// Handler returns a handler that responds to a Point posted to / with a
// Prediction, both in JSON.
func Handler(n *Network) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{$}", func(w http.ResponseWriter, r *http.Request) {
		var p Point
		decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1024))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&p); err != nil {
			http.Error(w, `the request must be a point, such as {"x": 0.1, "y": 0.2}: `+err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(n.Predict(p))
	})
	return mux
}

// Package spirals trains and serves a small neural network that classifies the
// points of two interleaved spirals. The training takes a second or two in plain
// Go. The demo and the tests use it as an example of a training job and of a
// model server.
package spirals

import (
	"math"
	"math/rand/v2"
)

// hidden is the number of units in each of the two hidden layers.
const hidden = 32

// Network is a multilayer perceptron 2–32–32–1 with tanh units and a logistic
// output. Weights are row-major, with one row for each unit.
type Network struct {
	W1, B1, W2, B2, W3, B3 []float64
}

// Progress is one line of the training log.
type Progress struct {
	Epoch    int
	Loss     float64
	Accuracy float64
}

// point is one training example: a point in the plane, labelled with its spiral
// (0 or 1).
type point struct{ x, y, label float64 }

// Train trains a network on 400 points with the Adam optimizer, and calls
// report after each tenth of the epochs. The result depends on the seed only.
func Train(epochs int, seed uint64, report func(Progress, *Network)) *Network {
	random := rand.New(rand.NewPCG(seed, 0))
	points := spirals(random)
	network := newNetwork(random)
	adam := newAdam(network)
	for epoch := 1; epoch <= epochs; epoch++ {
		gradient := &Network{}
		gradient.resize()
		progress := Progress{Epoch: epoch}
		for _, p := range points {
			loss, correct := network.learn(p, gradient)
			progress.Loss += loss / float64(len(points))
			if correct {
				progress.Accuracy += 1 / float64(len(points))
			}
		}
		adam.step(network, gradient, float64(len(points)))
		if epoch%(epochs/10) == 0 {
			report(progress, network)
		}
	}
	return network
}

// spirals returns 200 points on each of two spirals, with a little noise.
func spirals(random *rand.Rand) []point {
	var points []point
	for i := range 200 {
		turn := float64(i) / 200
		angle, radius := turn*3*math.Pi, 0.1+turn
		for label := range 2 {
			a := angle + float64(label)*math.Pi
			points = append(points, point{
				x:     radius*math.Cos(a) + random.NormFloat64()*0.01,
				y:     radius*math.Sin(a) + random.NormFloat64()*0.01,
				label: float64(label),
			})
		}
	}
	return points
}

func newNetwork(random *rand.Rand) *Network {
	n := &Network{}
	n.resize()
	scatter(n.W1, 2, random)
	scatter(n.W2, hidden, random)
	scatter(n.W3, hidden, random)
	return n
}

// scatter initializes weights randomly, scaled by the number of inputs of a
// unit.
func scatter(weights []float64, inputs int, random *rand.Rand) {
	for i := range weights {
		weights[i] = random.NormFloat64() / math.Sqrt(float64(inputs))
	}
}

func (n *Network) resize() {
	n.W1, n.B1 = make([]float64, hidden*2), make([]float64, hidden)
	n.W2, n.B2 = make([]float64, hidden*hidden), make([]float64, hidden)
	n.W3, n.B3 = make([]float64, hidden), make([]float64, 1)
}

// layers returns the weights and biases in the order of the layers.
func (n *Network) layers() [][]float64 {
	return [][]float64{n.W1, n.B1, n.W2, n.B2, n.W3, n.B3}
}

// learn runs the forward and the backward pass for one example and adds its
// gradient. It returns the loss, and whether the prediction is correct.
func (n *Network) learn(p point, gradient *Network) (loss float64, correct bool) {
	first, second, output := n.forward(p.x, p.y)
	const tiny = 1e-9
	loss = -p.label*math.Log(output+tiny) - (1-p.label)*math.Log(1-output+tiny)

	errorOut := output - p.label
	gradient.B3[0] += errorOut
	errorSecond := make([]float64, hidden)
	for i, value := range second {
		gradient.W3[i] += errorOut * value
		errorSecond[i] = errorOut * n.W3[i] * (1 - value*value)
	}
	errorFirst := backward(n.W2, first, errorSecond, gradient.W2, gradient.B2)
	backward(n.W1, []float64{p.x, p.y}, errorFirst, gradient.W1, gradient.B1)
	return loss, (output > 0.5) == (p.label > 0.5)
}

// forward returns the outputs of the network's layers.
func (n *Network) forward(x, y float64) (first, second []float64, output float64) {
	first = activate(n.W1, n.B1, []float64{x, y})
	second = activate(n.W2, n.B2, first)
	sum := n.B3[0]
	for i, value := range second {
		sum += n.W3[i] * value
	}
	return first, second, 1 / (1 + math.Exp(-sum))
}

func activate(weights, bias, input []float64) []float64 {
	output := make([]float64, len(bias))
	for i := range output {
		sum := bias[i]
		for j, value := range input {
			sum += weights[i*len(input)+j] * value
		}
		output[i] = math.Tanh(sum)
	}
	return output
}

// backward adds a layer's gradient and returns the error of its input.
func backward(weights, input, errors, gradWeights, gradBias []float64) []float64 {
	inputErrors := make([]float64, len(input))
	for i, e := range errors {
		gradBias[i] += e
		for j, value := range input {
			gradWeights[i*len(input)+j] += e * value
			inputErrors[j] += e * weights[i*len(input)+j] * (1 - value*value)
		}
	}
	return inputErrors
}

// adam is the optimizer of Kingma and Ba (arXiv 1412.6980), with the
// constants that they recommend and a learning rate of 0.01.
type adam struct {
	mean, variance [][]float64
	steps          float64
}

func newAdam(n *Network) *adam {
	a := &adam{}
	for _, layer := range n.layers() {
		a.mean = append(a.mean, make([]float64, len(layer)))
		a.variance = append(a.variance, make([]float64, len(layer)))
	}
	return a
}

func (a *adam) step(n, gradient *Network, examples float64) {
	const rate, beta1, beta2, epsilon = 0.01, 0.9, 0.999, 1e-8
	a.steps++
	correct1, correct2 := 1-math.Pow(beta1, a.steps), 1-math.Pow(beta2, a.steps)
	gradients := gradient.layers()
	for l, layer := range n.layers() {
		for i := range layer {
			g := gradients[l][i] / examples
			a.mean[l][i] = beta1*a.mean[l][i] + (1-beta1)*g
			a.variance[l][i] = beta2*a.variance[l][i] + (1-beta2)*g*g
			layer[i] -= rate * (a.mean[l][i] / correct1) / (math.Sqrt(a.variance[l][i]/correct2) + epsilon)
		}
	}
}

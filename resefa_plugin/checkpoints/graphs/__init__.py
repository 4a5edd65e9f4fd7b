"""Networks that are stored as graphs (ONNX, OpenVINO, TensorFlow.js), read as data."""

"""Photos in, tensors out: folders, COCO crops, public sets, synthetic photos, the decode-once cache."""

"""Data sets: embedded shapes, torchvision's CIFAR and SVHN, `.npz` files and folders of images."""

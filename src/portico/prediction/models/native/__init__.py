"""Models of native formats in processes of their own: foreign files are tried there, long predictions run there."""

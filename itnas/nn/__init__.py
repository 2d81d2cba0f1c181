"""The torch modules that supernets and stand-alone networks are made of."""

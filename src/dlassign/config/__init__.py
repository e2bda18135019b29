"""What a run is: frozen, validated classes and the loader that fills them from YAML."""

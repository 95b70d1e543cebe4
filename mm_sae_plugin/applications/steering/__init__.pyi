from .mixing import mix as mix

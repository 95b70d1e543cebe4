from .mixing import mix as mix
from .painting import Painted as Painted, Painter as Painter
from .reading import Answer as Answer, asked_by as asked_by, read_against as read_against
from .retrieval import Found as Found, Gallery as Gallery, Rerank as Rerank

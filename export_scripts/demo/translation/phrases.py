"""What the alternatives of the demo speech grammar are in the other language.

Each table has the slots and the alternatives of its grammar as keys. A value is one form or several; the form n of the
k-th <slot> of an alternative is written <slot#k:n>, where #1 and :0 may be left out. agreement.py explains the marks.
"""

from __future__ import annotations

from collections.abc import Mapping

Forms = str | tuple[str, ...]

THINGS = {
    "meeting": "reunión_f", "team": "equipo_M", "project": "proyecto_m", "budget": "presupuesto_m",
    "report": "informe_m", "plan": "plan_m", "customer": "cliente_M", "server": "servidor_m", "model": "modelo_m",
    "data": "información_f", "file": "archivo_m", "record": "registro_m", "call": "llamada_f", "email": "correo_m",
    "office": "oficina_f", "phone": "teléfono_m", "room": "sala_f", "table": "mesa_f", "list": "lista_f",
    "test": "prueba_f", "result": "resultado_m", "problem": "problema_m", "question": "pregunta_f",
    "answer": "respuesta_f", "idea": "idea_f", "market": "mercado_m", "price": "precio_m", "week": "semana_f",
    "month": "mes_m", "year": "año_m", "day": "día_m", "hour": "hora_f", "minute": "minuto_m",
    "morning": "mañana_f", "afternoon": "tarde_f", "evening": "noche_f", "weather": "tiempo_m", "water": "agua_a",
    "coffee": "café_m", "music": "música_f", "house": "casa_f", "city": "ciudad_f", "train": "tren_m",
    "car": "coche_m", "door": "puerta_f", "window": "ventana_f", "book": "libro_m", "letter": "carta_f",
    "number": "número_m", "system": "sistema_m", "network": "red_f", "code": "código_m", "release": "lanzamiento_m",
    "design": "diseño_m", "review": "revisión_f", "schedule": "horario_m", "deadline": "plazo_m",
    "summary": "resumen_m", "action": "acción_f", "item": "elemento_m", "decision": "decisión_f",
}  # fmt: skip
IRREGULAR_PLURALS = {"resumen": "resúmenes"}


def plural(noun: str) -> str:
    """Of a Spanish noun with its mark."""
    word, mark = noun.split("_")
    if word in IRREGULAR_PLURALS:
        return f"{IRREGULAR_PLURALS[word]}_{mark}"
    if word.endswith("ión"):
        return f"{word[:-2]}ones_{mark}"
    return f"{word}{'s' if word[-1] in 'aeiouáéíóú' else 'es'}_{mark}"


def _quality(attribute: str, predicate: str | None = None) -> Forms:
    return attribute, attribute if predicate is None else predicate, ""


def _ordinal(before_noun: str, predicate: str) -> Forms:
    return "", predicate, before_noun


UNITS = {
    "one": "uno", "two": "dos", "three": "tres", "four": "cuatro", "five": "cinco", "six": "seis", "seven": "siete",
    "eight": "ocho", "nine": "nueve",
}  # fmt: skip

TO_SPANISH: Mapping[str, Mapping[str, Forms]] = {
    "sentence": {
        "good <part of day> <addressee>.": "<part of day> <addressee>.",
        "<greeting> <addressee>.": "<greeting> <addressee>.",
        "thank you <addressee>.": "gracias <addressee>.",
        "welcome to the <quality> <event>.": "bienvenidos a el»la <quality:2> <event> <quality>.",
        "the <thing> <is> <state>.": "el»la <thing> <state:1> <is> <state>.",
        "our <thing> <is> <quality> <this> <period>.":
            "nuestro»nuestra <thing> <is> <quality:1> <this> <period> <this:1>.",
        "the <colour> <thing> <is> <in> the <thing>.": "el»la <thing> <colour> <is:1> <in> el»la <thing#2>.",
        "we <modal> <act> the <thing> <when>.": "@4 <modal> <act> ~ el»la <thing> <when>.",
        "we <modal> <act> the <quality> <thing> <when>.":
            "@4 <modal> <act> ~ el»la <quality:2> <thing> <quality> <when>.",
        "please <act> the <thing> <for> <name>.": "por favor <act:1> ~ el»la <thing> <for> <name>.",
        "<name> will <act> the <thing> on <day>.": "<name> va a <act> ~ el»la <thing> el <day>.",
        "<name> <modal> you <act> the <thing>?": "<name> ¿ @2 <modal> <act> ~ el»la <thing>?",
        "let us <act> the <thing> and <act> the <thing>.":
            "<act:2> ~ el»la <thing> y <act#2:2> ~ el»la <thing#2>.",
        "<answer> <who> <modal> <act> it <when>.": "<answer> <who> <modal> <act>lo <when>.",
        "I <believe> the <thing> is <quality>.": "<believe> que el»la <thing> es%está <quality:1>.",
        "action item <unit> is to <act> the <thing>.": "el punto de acción <unit> es <act> ~ el»la <thing>.",
        "the number is <number>.": "el número es <number>.",
        "the budget is <number> <or> the price is <number>.":
            "el presupuesto es <number> <or> el precio es <number#2>.",
        "<month> <number>.": "<month> <number>.",
        "<digit> <digit> <digit>.": "<digit> <digit#2> <digit#3>.",
        "<digit> <digit> <digit> <digit> <digit>.": "<digit> <digit#2> <digit#3> <digit#4> <digit#5>.",
        "<digit> <digit> <digit> <digit> <digit> <digit> <digit>.":
            "<digit> <digit#2> <digit#3> <digit#4> <digit#5> <digit#6> <digit#7>.",
        "how many <thing> do <who> <own>?": "¿ cuántos»cuántas <thing:1> <who> <own>?",
        "how much <thing> do <who> <own>?": "¿ cuánto»cuánta <thing> <who> <own>?",
        "what is the <quality> <thing>?": "¿ cuál es el»la <quality:2> <thing> <quality>?",
        "when is the <thing>?": "¿ cuándo es el»la <thing>?",
        "when is the <quality> <thing>?": "¿ cuándo es el»la <quality:2> <thing> <quality>?",
        "where is the <thing>?": "¿ dónde está el»la <thing>?",
        "who <is> at the <event>?": "¿ quién <is:1> en el»la <event>?",
    },
    "addressee": {"everyone": "a todos_p", "team": "equipo_m", "<name>": "<name>"},
    "or": {"and": "y", "or": "o"},
    "is": {"is": ("es%está", "está"), "was": ("era%estaba", "estaba")},
    "this": {"this": ("este»esta", ""), "last": ("el»la", "pasado«pasada"), "next": ("el»la próximo»próxima", "")},
    "period": {"week": "semana_f", "month": "mes_m", "year": "año_m"},
    "event": {"meeting": "reunión_f", "review": "revisión_f", "call": "llamada_f"},
    "for": {"to": "a", "for": "para", "with": "con", "from": "de"},
    "in": {"in": "en", "on": "sobre", "at": "*en"},
    "who": {"I": "@1", "we": "@4", "you": "@2", "they": "@5"},
    "own": {
        "have": "tengo/tienes/tiene/tenemos/tienen",
        "need": "necesito/necesitas/necesita/necesitamos/necesitan",
        "want": "quiero/quieres/quiere/queremos/quieren",
        "see": "veo/ves/ve/vemos/ven",
    },
    "believe": {"think": "creo", "know": "sé", "say": "digo"},
    "modal": {
        "will": "voy/vas/va/vamos/van a",
        "should": "debería/deberías/debería/deberíamos/deberían",
        "can": "puedo/puedes/puede/podemos/pueden",
    },
    "part of day": {"morning": "buenos días", "afternoon": "buenas tardes", "evening": "buenas noches"},
    "greeting": {
        "hello": "hola", "hi": "*hola", "thanks": "*gracias", "goodbye": "adiós",
        "welcome": "bienvenido»bienvenida»bienvenidos", "sorry": "perdón",
    },
    "answer": {"yes": "sí", "no": "no", "okay": "vale", "sure": "claro", "great": "genial"},
    "when": {
        "today": "hoy", "tomorrow": "mañana", "now": "ahora", "soon": "pronto", "again": "otra vez",
        "next week": "la próxima semana", "on <day>": "el <day>", "in <month>": "en <month>",
    },
    "state": {
        "on <day>": ("el <day>", ""), "in <month>": ("en <month>", ""), "<quality>": ("<quality:1>", ""),
        "not <quality>": ("<quality:1>", "no"), "<colour>": ("<colour>", ""),
    },
    "number": {
        "<small number>": "<small number>", "<ten> <unit>": "<ten> y <unit>", "<unit> hundred": "<unit> cientos",
        "<unit> thousand": "<unit> mil", "<unit> hundred and <small number>": "<unit> cientos <small number>",
    },
    "small number": {
        "<unit>": "<unit>", "ten": "diez", "eleven": "once", "twelve": "doce", "thirteen": "trece",
        "fourteen": "catorce", "fifteen": "quince", "sixteen": "dieciséis", "seventeen": "diecisiete",
        "eighteen": "dieciocho", "nineteen": "diecinueve", "<ten>": "<ten>",
    },
    "digit": {"zero": "cero", **UNITS},
    "unit": UNITS,
    "ten": {
        "twenty": "veinte", "thirty": "treinta", "forty": "cuarenta", "fifty": "cincuenta", "sixty": "sesenta",
        "seventy": "setenta", "eighty": "ochenta", "ninety": "noventa",
    },
    "day": {
        "Monday": "lunes", "Tuesday": "martes", "Wednesday": "miércoles", "Thursday": "jueves", "Friday": "viernes",
        "Saturday": "sábado", "Sunday": "domingo",
    },
    "month": {
        "January": "enero", "February": "febrero", "March": "marzo", "April": "abril", "May": "mayo", "June": "junio",
        "July": "julio", "August": "agosto", "September": "septiembre", "October": "octubre",
        "November": "noviembre", "December": "diciembre",
    },
    "colour": {
        "red": "rojo«roja", "green": "verde", "blue": "azul", "yellow": "amarillo«amarilla", "black": "negro«negra",
        "white": "blanco«blanca", "orange": "naranja", "purple": "morado«morada", "brown": "marrón", "gray": "gris",
    },
    "name": {
        "Anna": "Anna_f", "Bob": "Bob_m", "Maria": "Maria_f", "David": "David_m", "Laura": "Laura_f",
        "Peter": "Peter_m", "Sarah": "Sarah_f", "Tom": "Tom_m",
    },
    "quality": {
        "new": _quality("nuevo«nueva"), "old": _quality("viejo«vieja"), "good": _quality("bueno«buena"),
        "bad": _quality("malo«mala"), "big": _quality("grande"), "small": _quality("pequeño«pequeña"),
        "first": _ordinal("primer»primera", "el«la primero«primera"),
        "last": _ordinal("último»última", "el«la último«última"),
        "next": _ordinal("próximo»próxima", "el«la próximo«próxima"),
        "final": _quality("final"), "open": _quality("abierto«abierta", "^abierto«abierta"),
        "ready": _quality("listo«lista", "^listo«lista"), "late": _quality("tardío«tardía", "^retrasado«retrasada"),
        "early": _quality("temprano«temprana"), "important": _quality("importante"),
        "quick": _quality("rápido«rápida"), "slow": _quality("lento«lenta"), "happy": _quality("feliz", "^feliz"),
    },
    "thing": {english: (spanish, plural(spanish)) for english, spanish in THINGS.items()},
    "act": {
        "start": ("empezar", "empieza", "empecemos"), "stop": ("parar", "para", "paremos"),
        "open": ("abrir", "abre", "abramos"), "close": ("cerrar", "cierra", "cerremos"),
        "send": ("enviar", "envía", "enviemos"), "read": ("leer", "lee", "leamos"),
        "write": ("escribir", "escribe", "escribamos"), "check": ("comprobar", "comprueba", "comprobemos"),
        "review": ("revisar", "revisa", "revisemos"), "update": ("actualizar", "actualiza", "actualicemos"),
        "finish": ("terminar", "termina", "terminemos"), "discuss": ("discutir", "discute", "discutamos"),
        "move": ("mover", "mueve", "movamos"), "change": ("cambiar", "cambia", "cambiemos"),
        "play": ("reproducir", "reproduce", "reproduzcamos"), "call": ("llamar", "llama", "llamemos"),
        "save": ("guardar", "guarda", "guardemos"), "delete": ("borrar", "borra", "borremos"),
        "test": ("probar", "prueba", "probemos"), "ship": ("entregar", "entrega", "entreguemos"),
        "fix": ("arreglar", "arregla", "arreglemos"), "need": ("necesitar", "necesita", "necesitemos"),
        "want": ("querer", "quiere", "queramos"), "have": ("tener", "ten", "tengamos"),
        "know": ("conocer", "conoce", "conozcamos"), "think": ("pensar", "piensa", "pensemos"),
        "like": ("disfrutar", "disfruta", "disfrutemos"), "see": ("ver", "ve", "veamos"),
        "say": ("decir", "di", "digamos"), "ask": ("preguntar", "pregunta", "preguntemos"),
        "help": ("ayudar", "ayuda", "ayudemos"),
    },
}  # fmt: skip

# The Spanish of the speech grammar takes no care of gender and number. The first form is the same said rightly, the
# second is English.
_NUMBERS = {spanish: (f"+{spanish}", f"+{english}") for english, spanish in [*UNITS.items(), ("ten", "diez")]}

TO_ENGLISH: Mapping[str, Mapping[str, Forms]] = {
    "sentence": {
        "<greeting> <addressee>.": ("<greeting> <addressee>.", "<greeting:1> <addressee:1>."),
        "<greeting>.": ("<greeting>.", "<greeting:1>."),
        "<article> <thing> es <quality>.": ("el»la <thing> es <quality>.", "the <thing:1> is <quality:1>."),
        "<article> <thing> es muy <quality>.":
            ("el»la <thing> es muy <quality>.", "the <thing:1> is very <quality:1>."),
        "<possessive> <thing> es <quality>.":
            ("<possessive> <thing> es <quality>.", "<possessive:1> <thing:1> is <quality:1>."),
        "<wish> <how many> <thing> <when>.":
            ("<wish> <how many> <thing> <when>.", "<wish:1> <how many:1> <thing:1> <when:1>."),
        "<article> <thing> <happens> el <day>.":
            ("el»la <thing> <happens> el <day>.", "the <thing:1> <happens:1> on <day:1>."),
        "<article> <thing> <happens> <when>.":
            ("el»la <thing> <happens> <when>.", "the <thing:1> <happens:1> <when:1>."),
        "<answer> <politeness>.": ("<answer> <politeness>.", "<answer:1> <politeness:1>."),
        "<article> <thing> y <article> <thing> <of> <possessive> <thing>.": (
            "el»la <thing> y el»la <thing#2> <of> <possessive> <thing#3>.",
            "the <thing:1> and the <thing#2:1> <of:1> <possessive:1> <thing#3:1>.",
        ),
        "<number> <number> <number>.":
            ("<number> <number#2> <number#3>.", "<number:1> <number#2:1> <number#3:1>."),
        "<number> <number> <number> <number> <number>.": (
            "<number> <number#2> <number#3> <number#4> <number#5>.",
            "<number:1> <number#2:1> <number#3:1> <number#4:1> <number#5:1>.",
        ),
        "<number> <number> <number> <number> <number> <number> <number>.": (
            "<number> <number#2> <number#3> <number#4> <number#5> <number#6> <number#7>.",
            "<number:1> <number#2:1> <number#3:1> <number#4:1> <number#5:1> <number#6:1> <number#7:1>.",
        ),
    },
    "greeting": {
        "buenos días": ("buenos días", "good morning"), "buenas tardes": ("buenas tardes", "good afternoon"),
        "buenas noches": ("buenas noches", "good evening"), "hola": ("hola", "hello"),
        "gracias": ("gracias", "thank you"), "adiós": ("adiós", "goodbye"),
    },
    "addressee": {
        "a todos": ("a todos", "everyone"), "todos": ("a todos", "everyone"), "señor": ("señor", "sir"),
        "mundo": ("mundo", "world"), "equipo": ("equipo", "team"),
    },
    "article": {"el": ("", ""), "la": ("", "")},
    "possessive": {"mi": ("mi", "my"), "tu": ("tu", "your")},
    "wish": {"quiero": ("quiero", "I want"), "necesito": ("necesito", "I need"), "tengo": ("tengo", "I have")},
    "how many": {"un": ("un»una", "a"), "una": ("un»una", "a"), "<number>": ("<number>", "<number:1>")},
    "when": {
        "hoy": ("hoy", "today"), "mañana": ("mañana", "tomorrow"), "ahora": ("ahora", "now"),
        "por favor": ("por favor", "please"),
    },
    "happens": {"empieza": ("empieza", "starts"), "termina": ("termina", "ends")},
    "answer": {"sí": ("sí", "yes"), "no": ("no", "no")},
    "politeness": {
        "gracias": ("gracias", "thank you"), "por favor": ("por favor", "please"), "señor": ("señor", "sir"),
    },
    "of": {"de": ("de", "of"), "con": ("con", "with"), "en": ("en", "in")},
    "thing": {
        noun: (f"{noun}_{gender}|{plural(f'{noun}_{gender}')}", f"{english}|{several or english + 's'}")
        for noun, gender, english, several in (
            ("reunión", "f", "meeting", ""), ("equipo", "m", "team", ""), ("proyecto", "m", "project", ""),
            ("casa", "f", "house", ""), ("agua", "a", "water", ""), ("café", "m", "coffee", ""),
            ("ciudad", "f", "city", "cities"), ("libro", "m", "book", ""), ("puerta", "f", "door", ""),
            ("mesa", "f", "table", ""), ("perro", "m", "dog", ""), ("gato", "m", "cat", ""),
            ("música", "f", "music", "music"), ("señor", "m", "gentleman", "gentlemen"), ("mundo", "m", "world", ""),
        )
    },
    "quality": {
        "rojo": ("rojo«roja", "red"), "verde": ("verde", "green"), "azul": ("azul", "blue"),
        "negro": ("negro«negra", "black"), "blanco": ("blanco«blanca", "white"),
        "amarillo": ("amarillo«amarilla", "yellow"), "grande": ("grande", "big"),
        "pequeño": ("pequeño«pequeña", "small"), "nuevo": ("nuevo«nueva", "new"),
    },
    "day": {
        "lunes": ("lunes", "Monday"), "martes": ("martes", "Tuesday"), "miércoles": ("miércoles", "Wednesday"),
        "jueves": ("jueves", "Thursday"), "viernes": ("viernes", "Friday"), "sábado": ("sábado", "Saturday"),
        "domingo": ("domingo", "Sunday"),
    },
    "number": {**_NUMBERS, "uno": ("uno", "one")},
}  # fmt: skip

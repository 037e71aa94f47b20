"""Spanish, without accents on vowels, as `PLAIN` leaves it."""

from __future__ import annotations

from typing import Final

from api.intelligence.grammar.base import NAME, Grammar, Headings, any_of, cue, pattern, words_of

TASK_VERB = any_of(
    "actualizar|ajustar|analizar|anotar|añadir|apuntar|arreglar|asignar|avisar|buscar|cambiar|cancelar|cerrar|comprar",
    "comprobar|comunicar|completar|concertar|confirmar|contactar|contratar|convocar|coordinar|corregir|crear|definir",
    "desplegar|diseñar|documentar|elaborar|enviar|entregar|encargar|escribir|estimar|fijar|finalizar|firmar|gestionar",
    "hacer|implementar|informar|instalar|investigar|invitar|lanzar|llamar|mandar|mover|notificar|organizar|pagar|pedir",
    "planificar|preguntar|preparar|presentar|probar|programar|proponer|publicar|quitar|recoger|redactar|registrar|renovar"
    "|reparar",
    "reservar|resolver|responder|revisar|solicitar|subir|terminar|traducir|verificar|visitar|encargarse|hablar con",
)
LOOSE_VERB = any_of("dar|decidir|discutir|leer|llevar|mirar|mostrar|pasar|pensar|traer|tratar|trabajar|ver")
CLITIC = r"(?:(?:se|te|me|nos|os)?(?:lo|la|los|las|le|les)|me|te|se|nos|os)?"
NO_TASK = (
    r"(?!(?:cerrar la (?:reunion|sesion)|hacer (?:una pausa|un esfuerzo|falta|caso|gracia)|hacerlo asi|presentarme|"
    r"presentar(?:os|les)|pasar a|pedir (?:perdon|disculpas)|ver (?:si|que)|llamarlo|decir)\b)"
)
TASK = rf"(?:tambien |ya |luego |primero |mañana |hoy ){{0,3}}{NO_TASK}{TASK_VERB}{CLITIC}\b"
ANYTHING = rf"(?:tambien |ya |luego |primero ){{0,3}}{NO_TASK}{any_of(TASK_VERB, LOOSE_VERB)}{CLITIC}\b"
REGULAR = any_of(
    "actualizar|ajustar|analizar|anotar|añadir|apuntar|arreglar|avisar|buscar|cambiar|cancelar|cerrar|comprar"
    "|comprobar",
    "completar|confirmar|contactar|contratar|convocar|coordinar|corregir|crear|definir|elaborar|enviar|entregar"
    "|escribir",
    "finalizar|firmar|gestionar|implementar|informar|instalar|investigar|invitar|lanzar|llamar|mandar|mover|notificar",
    "organizar|pagar|pedir|preparar|presentar|programar|publicar|redactar|registrar|renovar|reparar|reservar|resolver",
    "responder|revisar|solicitar|subir|terminar|traducir|verificar|visitar|har",
)
"""With an ending, its future: enviar, enviare, enviara, enviaremos."""
OBJECT = r"(?:(?:me|te|se|os|nos) )?(?:(?:lo|la|los|las|le|les) )?"
IMPERATIVE = any_of(
    "envi(?:a|e|en|ad)|mand(?:a|e|en|ad)|revis(?:a|e|en|ad)|prepar(?:a|e|en|ad)|confirm(?:a|e|en|ad)|llam(?:a|e|en|ad)",
    "escrib(?:e|a|an|id)|avis(?:a|e|en|ad)|actualiz(?:a|ad)|actualic(?:e|en)|haz|haga|hagan|haced|organi[zc](?:a|e"
    "|en|ad)",
    "compr(?:a|e|en|ad)|reserv(?:a|e|en|ad)|complet(?:a|e|en|ad)|comprueb(?:a|e|en)|corrig(?:e|a|an)|public(?:a|ad)",
    "publiqu(?:e|en)|firm(?:a|e|en|ad)|pregunt(?:a|e|en|ad)|contact(?:a|e|en|ad)|sub(?:e|a|an|id)|termin(?:a|e|en|ad)",
    "pide|pida|pidan|busc(?:a|ad)|busqu(?:e|en)|cambi(?:a|e|en|ad)|cancel(?:a|e|en|ad)|entreg(?:a|ad)|entregu(?:e|en)",
    "encargat(?:e)|encarguese|habl(?:a|e|en|ad) con|arregl(?:a|e|en|ad)|paga|pague|paguen",
)
WHO = rf"(?P<who>el equipo(?: de [\w-]+)?|{NAME}(?: y {NAME})?)"
MY = any_of("voy a|tengo que|debo|necesito|me comprometo a|me encargo de|quedo en")
OUR = any_of("vamos a|tenemos que|hay que|debemos|necesitamos|nos toca")
THEIR = any_of("va a|van a|tiene que|tienen que|debe|deben|necesita|se encarga de|se encargara de|queda en")
YOU = any_of("puedes|podrias|puede usted|podria usted|podeis|pueden|me puedes|nos puedes|te encargas de|te importaria")

DAY = any_of("lunes|martes|miercoles|jueves|viernes|sabado|domingo")
MONTH = any_of("enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre")
PERIOD = any_of("semana|mes|trimestre|año|dia|verano|otoño|invierno|primavera|fin de semana")
IN_DAY = r"(?: (?:que viene|proximo|por la (?:mañana|tarde|noche)|a primera hora|al mediodia|a las \d{1,2}(?::\d\d)?))?"
POINT = any_of(
    rf"(?:fin|final|finales|fines|principios|mediados) de(?:l| la)? (?:{PERIOD}|{MONTH})",
    rf"(?:dia )?\d{{1,2}}(?: de {MONTH})?|{DAY}|{PERIOD}|{MONTH}|mañana|pasado mañana|hoy|mediodia|navidad"
    rf"|las \d{{1,2}}",
    rf"que (?:termine|acabe) (?:el|la) {PERIOD}|reunion|proxima reunion|lanzamiento",
)
DUE = any_of(
    rf"(?:para|antes de|antes del|a mas tardar|como muy tarde|no mas tarde de|hasta) (?:el |la |las |este |esta "
    rf"|del |al )?"
    rf"(?:proximo |proxima )?{POINT}{IN_DAY}",
    r"hoy(?: mismo)?|pasado mañana|(?<!la )(?<!esta )(?<!cada )mañana(?: por la (?:mañana|tarde|noche)"
    r"| a primera hora)?",
    rf"(?:la|el) (?:{PERIOD}|{DAY}) (?:que viene|proxim[oa])|(?:la proxima|el proximo|esta|este) (?:{PERIOD}|{DAY}"
    rf"|tarde|noche)",
    rf"el {DAY}{IN_DAY}|a (?:finales|principios|mediados) de(?:l)? (?:{PERIOD}|{MONTH})|el \d{{1,2}} de {MONTH}",
    r"en (?:\d+|un|una|dos|tres|cuatro|cinco|diez|unos|unas) (?:dias?|semanas?|horas?|mes(?:es)?)|cuanto antes"
    r"|lo antes posible",
)


SPANISH: Final = Grammar(
    tasks=(
        cue(rf"\b(?:{MY} {TASK}|{OBJECT}{REGULAR}e\b)", "speaker"),
        cue(rf"\b(?:{MY}|puedo) {ANYTHING}|\blo hago\b", "speaker", dated=True),
        cue(
            rf"\b{YOU} (?:por favor )?{TASK}|\bpor favor,? {IMPERATIVE}{CLITIC}\b"
            rf"|\b{IMPERATIVE}{CLITIC}\b.{{0,200}},? por favor\b",
            "addressed",
        ),
        cue(rf"\b{YOU} {ANYTHING}", "addressed", dated=True),
        cue(rf"\b{WHO} (?:{THEIR} {TASK}|{OBJECT}{REGULAR}(?:a|an)\b)", "named"),
        cue(rf"\b{WHO} {THEIR} {ANYTHING}", "named", dated=True),
        cue(rf"^(?:[a-z]+, )?(?P<who>{NAME}), {IMPERATIVE}{CLITIC}\b", "named"),
        cue(rf"\b(?:{OUR} {TASK}|{OBJECT}{REGULAR}emos\b)", "nobody"),
        cue(rf"\b(?:{OUR}|deberiamos|podemos) {ANYTHING}", "nobody", dated=True),
    ),
    due=pattern(rf"\b{DUE}(?!\w)"),
    doubt=pattern(
        r"\b(?:si(?!,| puedes| podeis| es posible)|ojala|quizas?|tal vez|a lo mejor|puede que|no se|seria|querria"
        r"|imagina)\b"
    ),
    asks_about=pattern(
        r"^¿?(?:(?:y|entonces|pero|bueno|vale),? )*(?:que|quien|quienes|cuando|donde|como|cuanto|cuantos|cuanta"
        r"|cuantas|cual"
        r"|por que|para que|debo|debemos|tengo|tenemos|va|vas|vamos|hay|voy|es|esta)\b"
    ),
    decision=pattern(
        r"\b(?:hemos |ya |finalmente |al final )?(?:decidimos|acordamos|decidido|acordado|optamos por|aprobamos"
        r"|aprobado)\b"
        r"|\bquedamos en\b|\bse (?:decidio|acordo|aprobo|ha decidido|ha acordado|ha aprobado)\b"
        r"|\bla decision (?:es|fue)\b|\bdecision(?:es)? ?:|\bnos quedamos con\b|\bvamos con (?:el|la|los|las)\b"
        r"|\bqueda (?:decidido|aprobado|acordado)\b"
    ),
    no_decision=pattern(
        r"\b(?:si|no|aun no|todavia no|nunca|casi|cuando|antes de que|hasta que|nadie)(?: \w+){0,2} "
        r"(?:decidimos|acordamos|decidido|acordado|aprobado|aprobamos|quedamos)\b|\bel (?:año|mes) pasado\b"
        r"|\bhace (?:un|dos|tres|\d+)\b"
        r"|\b(?:la semana|la primavera) pasada\b"
    ),
    question=pattern(
        r"^(?:(?:y|entonces|pero|bueno|vale|pues|o)[, ]+)*(?:(?:que|como|cuando|donde|quien|quienes|cual|cuales"
        r"|cuanto|cuanta|cuantos|cuantas|por que"
        r"|para que|a que|de que|con quien)(?: \w+)? (?:es|son|esta|estan|hay|fue|tiene|tienen|tenemos|hacemos|hace"
        r"|va|van|vamos|podemos|puede|pasa|cuesta|se|falta"
        r"|opinas|opinan|crees|dice|queda|quedan|sabes|sabe|era)\b|(?:puedes|podrias|podemos|puede alguien"
        r"|alguien (?:puede|sabe|tiene)|tienes|teneis|sabes si|hay algun|hay alguna)\b)"
    ),
    tag=pattern(r",? (?:verdad|no es cierto|no es asi)$|, (?:no|vale|cierto)$"),
    no_question=pattern(
        r"(?:^|¿)(?:(?:y|pues|bueno),? )?(?:sabes|no|verdad|vale|en serio|de verdad|que tal\b.*|como estas\b.*"
        r"|me (?:oyes|oyen|ois|escuchas|escuchan)\b.*|eh|perdon)\?*$"
        r"|,? ¿?(?:sabes|vale|eh)\?$"
    ),
    no_answer=pattern(
        r"^(?:perdona|perdon|disculpa|espera|un momento|antes de eso|pasemos|vamos a pasar|siguiente|en fin|hmm"
        r"|buena pregunta|gracias|adios|vale\W*$)"
    ),
    opening=pattern(
        r"^(?:(?:bueno|vale|bien|pues|entonces|ahora|y|muy bien|de acuerdo|perfecto),? )*(?:"
        r"(?:vamos a|pasemos a|pasamos a|quiero|quisiera|podemos|hablemos|empecemos|comencemos|sigamos"
        r"|continuemos)\b.*?\b(?:con|de|sobre|al|a la|por)\b"
        r"|(?:el|la|lo)? ?(?:primer|primero|primera|segundo|segunda|tercero|tercer|siguiente|ultimo|ultima|otro"
        r"|otra) (?:punto|tema|cosa|asunto|cuestion)\b"
        r"|(?:primero|por ultimo|a continuacion|en cuanto a|respecto a|con respecto a|sobre (?:el|la|los|las)"
        r"|otra cosa|otro tema|siguiente)\b)"
        r"|^(?:y )?(?:ahora|entonces|luego),? (?:el|la|los|las|vamos|pasamos)\b"
    ),
    definition=pattern(
        r"^(?:(?:pues|bueno|entonces|y),? )?(?P<term>(?:(?:el|la|los|las|un|una) )?\w[\w'-]*(?: \w[\w'-]*){0,3}?) "
        r"(?:es|son|significa|se refiere a|se llama|se define como) (?:un|una|el|la|los|las|cuando|lo que|cualquier"
        r"|como|uno|algo)\b"
    ),
    no_topic=pattern(r"^(?:\S+ )+\w+(?:aron|ieron|amos|emos|imos)$"),
    no_names=words_of(
        "el la los las lo un una unos unas yo tu usted ustedes el ella ellos ellas nosotros nosotras vosotros este "
        "esta esto ese "
        "esa eso estos estas aquel aquella mi su nuestro nuestra quien que cual cuando donde como cuanto por para "
        "si no y o pero "
        "bueno vale pues entonces luego despues ahora hoy mañana ayer lunes martes miercoles jueves viernes sabado "
        "domingo enero "
        "febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre gracias perfecto bien "
        "claro todos "
        "todo nadie alguien algo nada hola adios primero segundo tercero finalmente tambien ademas hay es son esta "
        "estan fue en "
        "de con a al del se me te nos le les sin sobre hasta desde entre sra sr don doña señor señora dios tarea "
        "accion decision "
        "seguro exacto genial muy mas ya porque aunque mientras quizas ojala buenos buenas"
    ),
    stop_words=words_of(
        "el la los las lo un una unos unas y o pero si no de del en a al con por para sin sobre hasta desde entre "
        "que cual quien "
        "cuando donde como cuanto es son era fue ser esta estan estar hay haber ha han he hemos tener tiene tienen "
        "yo tu el ella "
        "nosotros ellos ellas me te se nos le les mi su sus este esta esto ese esa eso muy mas menos tambien ya "
        "bien bueno vale "
        "pues entonces cosa cosas algo nada todo todos toda todas poco mucho mucha muchos hacer hace decir dice "
        "creo verdad claro "
        "hoy mañana ayer semana porque aunque asi solo cada otro otra vamos voy va "
        "semanas dia dias mes meses año años hora horas minuto minutos tarde noche ciento euros dolares numero "
        "numeros "
        "pregunta preguntas respuesta punto puntos parte resto primer primero primera segundo tercero ultimo ultima "
        "nuevo "
        "nueva grande lista ejemplo uno dos tres cuatro cinco seis siete ocho nueve diez cien mil enero febrero "
        "marzo abril "
        "mayo junio julio agosto septiembre octubre noviembre diciembre lunes martes miercoles jueves viernes "
        "sabado domingo "
        "antes despues siempre nunca aun todavia ahora casi quizas hecho dicho dar hay tenemos tengo puede pueden "
        "podemos "
        "perfecto empezar genial exacto gracias hola adios oir ois buenos buenas"
    ),
    headings=Headings(
        summary="Resumen",
        topics="Temas",
        attendees="Asistentes",
        speakers="Participantes",
        decisions="Decisiones",
        action_items="Tareas",
        open_questions="Preguntas abiertas",
        chapters="Capítulos",
        quotes="Citas",
        links="Enlaces",
        overview="Visión general",
        key_points="Puntos clave",
        terms="Términos",
        review_questions="Preguntas de repaso",
        conclusion="Conclusión",
        answer="Respuesta",
        due="plazo",
        conjunction="y",
        untitled="Sin título",
        what_is="¿Qué es {}?",
        what_was_said="¿Qué se dijo sobre {}?",
        no_action_items="No se encontraron tareas.",
        nothing_near="No se encontró nada que responda a esto.",
        nothing_said="No se dijo nada.",
    ),
)
